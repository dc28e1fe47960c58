"""The command `dp-planner`: what the page answers, for terminals and scripts.

Everything heavy is imported inside the commands, so that `dp-planner --help` is there at once.
"""

import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast

import click

from mechanisms.plan import Plan
from mechanisms.planning.fields import (
    DEFAULTS,
    FIELDS,
    NEIGHBORING_RELATIONS,
    RELEASES,
    SAMPLERS,
    PlanError,
)
from ui.cli_output import as_json as as_bounds
from ui.cli_output import bounds_row, print_guarantee, print_json, print_rows, run_rows
from ui.entries import EntryError, parse_number
from ui.plan_files import read_mechanism, read_plan, write_text
from ui.server import LOCAL, serve

if TYPE_CHECKING:
    NumberType = click.ParamType[int | float]
else:  # older versions of click know no type of what is converted
    NumberType = click.ParamType

__all__ = ["main"]

_DRAWN: Final = {
    "poisson": "each example independently, in every step",
    "full_batch": "all examples in every step",
    "fixed_order": "fixed batches in turn, no amplification",
    "without_replacement": "batches of fixed size, drawn afresh for every step",
    "balls_in_bins": "each example in one random batch of every epoch",
    "shuffled": "batches of data shuffled in every epoch, no amplification",
    "min_separation": "any batches, an example comes back after so many steps at the earliest",
    "cyclic_poisson": "groups in turn, each example of the group independently",
    "balls_in_bins_once": "each example in one random batch, the same in every epoch",
}
_HELP: Final = {
    "dataset_size": "Number of examples: 60000, 9.6e9.",
    "batch_size": "Expected number of examples in a step.",
    "sampling_probability": "Probability that an example takes part in a step; or batch size.",
    "epochs": "Passes over the data; or steps.",
    "steps": "Number of noisy steps.",
    "noise_multiplier": "Standard deviation of the noise over the clipping norm.",
    "clip_norm": "Largest norm of one example's gradient.",
    "delta": "Probability that epsilon leaves out.",
    "sampler": "How batches are drawn. " + " ".join(f"{s}: {_DRAWN[s]}." for s in SAMPLERS),
    "max_batch_size": "A cap on the batch: larger ones are cut at random (with poisson only).",
    "min_separation": "Least distance between two steps of one example (min_separation only).",
    "max_participations": "Most steps of one example (min_separation only).",
    "groups": "Groups of examples that take turns (cyclic_poisson only).",
    "neighboring_relation": f"Which data sets are neighbours: {', '.join(NEIGHBORING_RELATIONS)}.",
    "unit": "What one row of the data set is.",
    "group_size": "How many rows are protected together.",
    "release": f"What leaves the run: {', '.join(RELEASES)}.",
    "mechanism": "How noise is correlated: identity, for not at all, or the JSON of a strategy, or "
    "the name of its file, as the command design writes it.",
}
_WORDS: Final = ("sampler", "neighboring_relation", "unit", "release", "mechanism")


class Number(NumberType):
    """A number as people write it: 60000, 9.6e9, 517,989, 1.1e-10, 1/60000."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Return the number exactly where it is whole, else the float nearest to it."""
        if not isinstance(value, str):
            return cast("int | float", value)
        try:
            number = parse_number(value)
        except EntryError as error:
            self.fail(str(error), param, ctx)
        return number.numerator if number.denominator == 1 else float(number)


NUMBER: Final = Number()


class Planner(click.Group):
    """A group whose every error is one line on standard error and exit status 2."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command line and exit."""
        run: Callable[..., Any] = super().main
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


def _plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a plan file and a flag for every field of a Plan."""
    for name in reversed(FIELDS):
        default = DEFAULTS.get(name)
        help_text = _HELP[name] + (f" Default: {default}." if default is not None else "")
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=str if name in _WORDS else NUMBER,
            metavar="WORD" if name in _WORDS else "NUMBER",
            help=help_text,
        )(command)
    return click.option(
        "--plan", "plan_file", metavar="FILE", help="A plan in JSON or YAML; - for standard input."
    )(command)


def _plan(plan_file: str | None, fields: dict[str, Any]) -> Plan:
    """Return the plan of a command line: its file, with the flags on top."""
    flags = {name: value for name, value in fields.items() if value is not None}
    if "mechanism" in flags:
        flags["mechanism"] = read_mechanism(flags["mechanism"])
    return read_plan(plan_file).replace(**flags) if plan_file is not None else Plan(**flags)


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def _output_option(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--output", metavar="FILE", help=f"Write {what} to this file.")


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
@_plan_options
@_json_option
def epsilon(plan_file: str | None, as_json: bool, **fields: Any) -> None:
    """Print what a run costs: epsilon at its delta, certified on both sides."""
    plan = _plan(plan_file, fields)
    guarantee = plan.guarantee()
    if as_json:
        print_json(plan, epsilon=as_bounds(guarantee.epsilon), delta=plan.delta)
    else:
        print_guarantee(plan, guarantee)


@main.command()
@click.option("--epsilon", "at", type=NUMBER, required=True, metavar="NUMBER", help="The epsilon.")
@_plan_options
@_json_option
def delta(at: int | float, plan_file: str | None, as_json: bool, **fields: Any) -> None:
    """Print the delta of a run at an epsilon, certified on both sides."""
    if not (at >= 0 and math.isfinite(at)):
        raise PlanError("epsilon", at, "a number in the interval [0, inf)")
    plan = _plan(plan_file, fields)
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
@_plan_options
@_json_option
@_output_option("the plan that was found, as YAML or JSON,")
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
    plan = _plan(plan_file, fields)
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
@_plan_options
@_json_option
@_output_option("the statement")
def statement(
    language: Literal["markdown", "latex", "json"],
    details: tuple[str, ...],
    plan_file: str | None,
    as_json: bool,
    output: str | None,
    **fields: Any,
) -> None:
    """Write down what a run would guarantee, with every condition of it."""
    plan = _plan(plan_file, fields)
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
