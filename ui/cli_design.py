"""The command `dp-planner design`: which noise to correlate how, and what that gains."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from mechanisms.plan import Plan
from mechanisms.planning.fields import FIELDS, PlanError
from ui.cli_design_output import print_comparison, print_recommendation
from ui.cli_options import NUMBER, json_option, output_option, plan_options
from ui.plan_files import read_plan, write_text

if TYPE_CHECKING:
    from mechanisms.designs import Design, Run
    from mechanisms.strategies import Strategy
    from mechanisms.workloads import Workload

__all__ = ["design"]

_TERMS = ("population", "report_goal", "rounds", "min_rounds_between")


def _federated_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the words of federated learning for a least distance of participations."""
    told = {
        "population": "Federated learning: devices that may take part.",
        "report_goal": "Federated learning: devices in one round.",
        "rounds": "Federated learning: rounds of the run.",
        "min_rounds_between": "Federated learning: least distance between two rounds of one "
        "device. Default: the longest that the population allows.",
    }
    for name in reversed(_TERMS):
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, name, type=NUMBER, metavar="NUMBER", help=told[name])(command)
    return command


@click.command()
@click.option(
    "--design",
    "names",
    multiple=True,
    metavar="NAME",
    help="What to try, such as tree, blt:4 or toeplitz:64; without it, what suits the run. May be "
    "repeated.",
)
@click.option(
    "--objective",
    type=click.Choice(["mean", "max"]),
    default="mean",
    show_default=True,
    help="What counts: the mean squared error over steps, or the largest.",
)
@click.option(
    "--workload",
    "estimated",
    default="prefix",
    show_default=True,
    metavar="WORDS",
    help="What is estimated: prefix, or any of momentum=0.9, weight_decay=0.01 and one of cosine, "
    "linear and cooldown=0.2, parted by commas.",
)
@click.option(
    "--memory",
    type=NUMBER,
    metavar="NUMBER",
    help="Most copies of the model that noise may keep between steps.",
)
@click.option(
    "--epsilon",
    type=NUMBER,
    metavar="NUMBER",
    help="Compare at this epsilon; without it, at the plan's noise, or at noise multiplier 1.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Bound what is possible by closed forms alone, in no time, and not as closely.",
)
@_federated_options
@plan_options
@json_option
@output_option("the strategy that is preferred, as JSON,")
@click.option(
    "--plan-output",
    metavar="FILE",
    help="Write the plan with that strategy and its noise to this file, as YAML or JSON.",
)
def design(
    names: tuple[str, ...],
    objective: Literal["mean", "max"],
    estimated: str,
    memory: int | None,
    epsilon: float | None,
    quick: bool,
    plan_file: str | None,
    as_json: bool,
    output: str | None,
    plan_output: str | None,
    **fields: Any,
) -> None:
    """Compare ways to correlate noise: error, memory, and how far from the best possible.

    From steps and participation alone, at noise multiplier 1; with a delta and an epsilon, or a
    noise multiplier, at equal privacy, with a recommendation in words.
    """
    _check_names(output, plan_output)
    terms = {name: fields.pop(name) for name in _TERMS}
    plan = _plan(plan_file, fields, terms, epsilon)
    wanted = _checked(lambda: _designs(names))
    workload = _checked(lambda: _workload(estimated, plan))
    progress = _Progress()
    if epsilon is None and plan.noise_multiplier is None:
        if plan_output is not None:
            raise PlanError("epsilon", None, "given, or noise_multiplier, to write a plan")
        from mechanisms.comparison import compare

        run = _checked(lambda: _run(plan, workload, objective))
        compared = _checked(
            lambda: compare(run, wanted, memory=memory, quick=quick, report=progress)
        )
        progress.end()
        if not compared.rows:
            reasons = "; ".join(f"{one.design}: {one.reason}" for one in compared.refused[:3])
            raise click.ClickException(f"No design fits this run: {reasons or 'none was tried'}.")
        if output is not None:
            write_text(output, compared.preferred.strategy.to_json())
        print_comparison(compared, estimated, as_json)
        return
    from mechanisms.recommendation import recommend

    found = _checked(
        lambda: recommend(
            plan,
            epsilon=epsilon,
            memory=memory,
            objective=objective,
            workload=workload,
            designs=wanted,
            quick=quick,
            report=progress,
        )
    )
    progress.end()
    best = found.best.plan
    if plan_output is not None:
        write_text(plan_output, _written(best, plan_output))
    if output is not None:
        write_text(output, _strategy(best).to_json())
    print_recommendation(found, estimated, as_json)


# -- what was asked --------------------------------------------------------------------------------


def _check_names(output: str | None, plan_output: str | None) -> None:
    if output is not None and not output.endswith(".json"):
        raise PlanError("--output", output, "a file name ending in .json")
    if plan_output is not None and not plan_output.endswith((".json", ".yaml", ".yml")):
        raise PlanError("--plan-output", plan_output, "a file name ending in .json, .yaml or .yml")


def _plan(
    plan_file: str | None,
    fields: dict[str, Any],
    terms: dict[str, Any],
    epsilon: float | None,
) -> Plan:
    """Return the plan; who takes part when may be said by what only one sampler has.

    Where no privacy is asked for, the neighbouring relation does not matter, and is chosen so that
    the sampler has it.
    """
    flags = {name: value for name, value in fields.items() if value is not None}
    if "mechanism" in flags:
        reason = "design finds one; what it costs is what the command epsilon says"
        raise PlanError("mechanism", flags["mechanism"], "left out", reason)
    told = {name: value for name, value in terms.items() if value is not None}
    if told:
        flags |= _federated(told, flags)
    if plan_file is not None:
        base = read_plan(plan_file)
        if epsilon is not None or (
            base.noise_multiplier is None and "noise_multiplier" not in flags
        ):
            base = base.replace(mechanism=None)
        return base.replace(**flags)
    for name, sampler in (("min_separation", "min_separation"), ("groups", "cyclic_poisson")):
        if name in flags:
            flags.setdefault("sampler", sampler)
    if epsilon is None and "noise_multiplier" not in flags:
        flags.setdefault("neighboring_relation", "replace_special")
    return Plan(**flags)


def _federated(terms: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that federated terms stand for."""
    for name in ("population", "report_goal", "rounds"):
        if name not in terms:
            flag = f"--{name.replace('_', '-')}"
            raise PlanError(flag, None, "given with the other terms of federated learning")
    from mechanisms.participation import federated

    patterns = _checked(lambda: federated(**terms))
    found = {
        "dataset_size": terms["population"],
        "batch_size": terms["report_goal"],
        "steps": terms["rounds"],
        "sampler": "min_separation",
        "min_separation": patterns.min_separation,
        "max_participations": patterns.max_participations,
    }
    for name, value in found.items():
        if flags.get(name, value) != value:
            reason = f"the terms of federated learning make it {value}"
            raise PlanError(name, flags[name], "left out", reason)
    return found


def _designs(names: tuple[str, ...]) -> "tuple[Design, ...] | None":
    from mechanisms.designs import parse

    return tuple(dict.fromkeys(parse(name) for name in names)) or None


def _workload(text: str, plan: Plan) -> "Workload":
    from mechanisms.designs import parse_workload

    if plan.steps is None:
        raise PlanError("steps", None, "given, to design a mechanism for them")
    return parse_workload(text, plan.steps)


def _run(plan: Plan, workload: "Workload", objective: Literal["mean", "max"]) -> "Run":
    """Return what a plan without a noise multiplier is designed for."""
    from mechanisms.designs import Run
    from mechanisms.participation import SingleParticipation
    from mechanisms.planning.participation import participation

    # Steps alone: one pass over the data, in which every example has its turn once.
    alone = not plan.stated.intersection({*FIELDS}.difference(_ASIDE))
    patterns = SingleParticipation() if alone else participation(plan)
    return Run(workload.steps, patterns, workload, objective)


# Fields that do not say who takes part when.
_ASIDE = (
    "steps",
    "clip_norm",
    "delta",
    "neighboring_relation",
    "unit",
    "group_size",
    "release",
    "mechanism",
)


# -- what is answered ------------------------------------------------------------------------------


def _strategy(plan: Plan) -> "Strategy":
    from mechanisms.strategies import Identity

    return Identity(plan.steps or 1) if isinstance(plan.mechanism, str) else plan.mechanism


def _written(plan: Plan, name: str) -> str:
    """Return the file of a plan; YAML is for people, and not read where it is long."""
    if name.endswith(".json"):
        return plan.to_json()
    from mechanisms.planning.file import LARGEST_YAML

    text = plan.to_yaml()
    if len(text) > LARGEST_YAML:
        reason = f"with this strategy it has {len(text)} characters, too many for YAML"
        raise PlanError("--plan-output", name, "a file name ending in .json", reason)
    return text


def _checked(work: Callable[[], Any]) -> Any:
    """Return what is worked out; what it refuses is the user's to mend, not a fault of ours."""
    from accountant import CalibrationError, UnsupportedEventError

    try:
        return work()
    except (PlanError, CalibrationError, UnsupportedEventError):
        raise
    except ValueError as error:
        raise click.ClickException(f"{str(error).rstrip('.')}.") from None


class _Progress:
    """What has been tried, on one line of standard error, where somebody is looking at it."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._shown = sys.stderr.isatty()

    def __call__(self, tried: Any) -> None:
        """Show what was tried last, and how much before it."""
        self._names.append(str(getattr(tried, "design", None) or tried[0]))
        self._show(f"{len(self._names)} tried, the last {self._names[-1]}; a bound follows")

    def end(self) -> None:
        """Leave no trace."""
        self._show("")

    def _show(self, text: str) -> None:
        if self._shown:
            click.echo(f"\r\033[K{text}", err=True, nl=False)
