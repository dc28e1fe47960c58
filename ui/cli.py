"""The command `dp-planner`: what the page answers, for terminals and scripts.

Everything heavy is imported inside the commands, so that `dp-planner --help` is there at once.
"""

import math
import os
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, NoReturn

import click

from mechanisms.planning.fields import FIELDS, PlanError
from ui.cli_design import design
from ui.cli_options import NUMBER, json_option, output_option, plan_of, plan_options
from ui.cli_output import as_json as as_bounds
from ui.cli_output import bounds_row, print_guarantee, print_json, print_rows, run_rows
from ui.plan_files import write_text
from ui.server import LOCAL, serve

__all__ = ["main"]


class Planner(click.Group):
    """A group whose every error is one line on standard error and exit status 2."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command line and exit."""
        run: Callable[..., Any] = super().main
        # Read when NumPy is imported, later: threads that wait for each other make small matrices
        # slow.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            status = run(*args, **(extra | {"standalone_mode": False}))
        except click.exceptions.Abort:
            sys.exit(130)
        except BrokenPipeError:
            # Whoever read this has seen enough; Python would complain again while it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except UnicodeEncodeError as error:
            _fail(f"{error.encoding} lacks a character of the answer: set PYTHONIOENCODING=utf-8.")
        except click.ClickException as error:
            _fail(error.format_message())
        except PlanError as error:
            _fail(str(error))
        except ValueError as error:
            # Found out late, because the accountant takes a second to import.
            from accountant import CalibrationError, UnsupportedEventError

            if not isinstance(error, CalibrationError | UnsupportedEventError):
                raise
            _fail(str(error))
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> NoReturn:
    click.echo(f"dp-planner: {' '.join(message.split())}", err=True)
    sys.exit(2)


@click.group(
    cls=Planner,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="dp-planner", prog_name="dp-planner")
def main() -> None:
    """Plan training runs with differential privacy: what they cost, what to run, how to say it.

    A run is described by flags, or by a plan file with flags on top.
    """


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port; without it, a free one.")
@click.option("--address", default=LOCAL, show_default=True, help="Address to listen on.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, or only serve.")
def ui(port: int | None, address: str, browser: bool) -> None:
    """Open the planner in the browser."""
    serve(address=address, port=port, browser=browser)


@main.command()
@plan_options
@json_option
def epsilon(plan_file: str | None, as_json: bool, **fields: Any) -> None:
    """Print what a run costs: epsilon at its delta, certified on both sides."""
    plan = plan_of(plan_file, fields)
    guarantee = plan.guarantee()
    if as_json:
        print_json(plan, epsilon=as_bounds(guarantee.epsilon), delta=plan.delta)
    else:
        print_guarantee(plan, guarantee)


@main.command()
@click.option("--epsilon", "at", type=NUMBER, required=True, metavar="NUMBER", help="The epsilon.")
@plan_options
@json_option
def delta(at: int | float, plan_file: str | None, as_json: bool, **fields: Any) -> None:
    """Print the delta of a run at an epsilon, certified on both sides."""
    if not (at >= 0 and math.isfinite(at)):
        raise PlanError("epsilon", at, "a number in the interval [0, inf)")
    plan = plan_of(plan_file, fields)
    bounds = plan.loss.delta_bounds(float(at))
    if as_json:
        print_json(plan, epsilon=at, delta=as_bounds(bounds))
        return
    from accountant.statement import rounded_up

    click.echo(f"delta <= {rounded_up(float(bounds.upper))} at epsilon = {at}")
    print_rows([bounds_row(bounds, plan.loss.exact), *run_rows(plan)])


@main.command()
@click.option("--epsilon", type=NUMBER, metavar="NUMBER", help="Target: epsilon at the delta.")
@click.option("--advantage", type=NUMBER, metavar="NUMBER", help="Target: attack advantage.")
@click.option("--tpr", type=NUMBER, metavar="NUMBER", help="Target: true positive rate at --fpr.")
@click.option("--fpr", type=NUMBER, metavar="NUMBER", help="False positive rate of that target.")
@click.option(
    "--solve-for",
    type=click.Choice(["noise-multiplier", "batch-size", "steps"]),
    help="Find this, even where the plan has it; without it, what is missing.",
)
@plan_options
@json_option
@output_option("the plan that was found, as YAML or JSON,")
def calibrate(
    epsilon: float | None,
    advantage: float | None,
    tpr: float | None,
    fpr: float | None,
    solve_for: str | None,
    plan_file: str | None,
    as_json: bool,
    output: str | None,
    **fields: Any,
) -> None:
    """Find the noise multiplier, batch size or steps that meet a target, on the safe side."""
    if output is not None and not output.endswith((".json", ".yaml", ".yml")):
        raise PlanError("--output", output, "a file name ending in .json, .yaml or .yml")
    plan = plan_of(plan_file, fields)
    if solve_for is not None:
        plan = plan.replace(**dict.fromkeys(_SOLVABLE[solve_for]))
    found = plan.calibrate(epsilon=epsilon, advantage=advantage, tpr=tpr, fpr=fpr)
    solved = next(name for name in FIELDS if name in found.stated.difference(plan.stated))
    if output is not None:
        write_text(output, found.to_json() if output.endswith(".json") else found.to_yaml())
    value = getattr(found.fields, solved)
    if as_json:
        targets = {"epsilon": epsilon, "advantage": advantage, "tpr": tpr, "fpr": fpr}
        asked = {name: target for name, target in targets.items() if target is not None}
        bounds = None if found.delta is None else as_bounds(found.loss.epsilon_bounds(found.delta))
        print_json(found, solved=solved, value=value, target=asked, epsilon=bounds)
        return
    click.echo(f"{solved} = {value}")
    if found.delta is None:
        print_rows(run_rows(found))
    else:
        print_guarantee(found, found.guarantee())


@main.command()
@click.option(
    "--format",
    "language",
    type=click.Choice(["markdown", "latex", "json"]),
    default="markdown",
    show_default=True,
    help="Language of the statement.",
)
@click.option(
    "--detail",
    "details",
    multiple=True,
    metavar="NAME=TEXT",
    help="What only you can say, such as tuning='none on this data'. May be repeated.",
)
@plan_options
@json_option
@output_option("the statement")
def statement(
    language: Literal["markdown", "latex", "json"],
    details: tuple[str, ...],
    plan_file: str | None,
    as_json: bool,
    output: str | None,
    **fields: Any,
) -> None:
    """Write down what a run would guarantee, with every condition of it."""
    plan = plan_of(plan_file, fields)
    from accountant.statement import statement as written

    told = {name: text for name, _, text in (detail.partition("=") for detail in details)}
    guarantee = plan.guarantee()
    try:
        text = written(guarantee, "json" if as_json else language, details=told)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if output is not None:
        write_text(output, text)
    else:
        click.echo(text, nl=False)


_SOLVABLE: Final = {
    "noise-multiplier": ("noise_multiplier",),
    "batch-size": ("batch_size", "sampling_probability"),
    "steps": ("epochs", "steps"),
}

main.add_command(design)
