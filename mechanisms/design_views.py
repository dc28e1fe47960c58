"""Designs as people look at them: rows of a table, and curves.

Everything here is a view of strategies and of `mechanisms.recommendation`; nothing is chosen.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, get_args

from accountant.parameters import short, whole_count
from mechanisms import workloads
from mechanisms.designs import DESIGNS, Objective, Run
from mechanisms.plan import Plan
from mechanisms.planning.fields import PlanError
from mechanisms.planning.participation import participation
from mechanisms.recommendation import Choice, Recommendation
from mechanisms.strategies import BLT, Identity, Strategy
from mechanisms.workload_words import parse_workload
from mechanisms.workloads import Workload

__all__ = [
    "PREFIX_SUMS",
    "SCHEDULES",
    "Measured",
    "Point",
    "Purpose",
    "SizePoint",
    "best_of_each_kind",
    "best_possible",
    "by_size",
    "error_over_steps",
    "gigabytes",
    "measured",
    "run_of",
    "strategy_of",
    "within",
]

PREFIX_SUMS: Final = "prefix"  # the workload of SGD with a constant learning rate, in words
SCHEDULES: Final = ("cosine", "linear", "cooldown")

_LONGEST_SCHEDULE: Final = 10**6  # steps with a learning rate each
_LONGEST_VECTOR: Final = 10**7  # steps for which one number each is formed
_CLOSED_FORMS: Final = 100  # points of a curve that are worked out one by one
_BYTES: Final = 4  # of a model's parameter in single precision


# -- what a run estimates --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Purpose:
    """What noise should disturb least, whatever the length of the run.

    Attributes
    ----------
    objective : {"mean", "max"}
        Whether the mean squared error over steps counts, or the largest.
    words : str
        The workload, as `parse_workload` reads it.

    Raises
    ------
    ValueError
        If one of them means nothing.
    """

    objective: Objective = "mean"
    words: str = PREFIX_SUMS

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            raise ValueError(f"objective must be 'mean' or 'max', got {short(self.objective)}")
        parse_workload(self.words, 1)

    def workload(self, steps: int) -> Workload | None:
        """Return the workload of so many steps; None stands for prefix sums.

        Raises
        ------
        ValueError
            If a learning rate changes over too many steps.
        """
        if self.words == PREFIX_SUMS:
            return None
        if steps > _LONGEST_SCHEDULE and any(name in self.words for name in SCHEDULES):
            raise ValueError(
                f"a learning rate that changes is compared for at most {_LONGEST_SCHEDULE} steps, "
                f"not for {steps}: compare with a constant one"
            )
        return parse_workload(self.words, steps)


def run_of(plan: Plan, purpose: Purpose) -> Run:
    """Return what a design is made for in a plan.

    Raises
    ------
    PlanError
        If the plan has no steps, or its sampler no patterns of participation.
    ValueError
        If the purpose does not fit so many steps.
    """
    if plan.steps is None:
        raise PlanError("steps", None, "given, to design a mechanism for them")
    workload = purpose.workload(plan.steps)
    return Run(plan.steps, participation(plan), workload, purpose.objective)


# -- rows of a table -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """A choice with both of its errors, in clipping norms at the noise that the choice has.

    Attributes
    ----------
    choice : Choice
    noise_multiplier : float
        The least that meets the target.
    noise_stddev : float
        By which the mechanism's noise is multiplied.
    rmse, max_error : float
        Root mean square, and the largest, standard error over steps.
    """

    choice: Choice
    noise_multiplier: float
    noise_stddev: float
    rmse: float
    max_error: float

    @property
    def name(self) -> str:
        """What tells it from the others: its design, and the groups that it needs."""
        groups = self.choice.plan.groups
        mark = "" if groups is None else f" of {groups}"
        return f"{self.choice.design}{mark}"

    def relative(self, recommendation: Recommendation) -> float | None:
        """Return its error as a multiple of that of independent noise at the same cost."""
        independent = recommendation.independent
        return None if independent is None else self.choice.error / independent.error


def measured(choice: Choice, workload: Workload | None) -> Measured:
    """Evaluate a choice on a workload, prefix sums where it is None."""
    strategy, stddev = strategy_of(choice.plan), choice.plan.noise_stddev
    goal = workloads.prefix_sum(strategy.steps) if workload is None else workload
    scale = stddev / choice.plan.clip_norm
    return Measured(
        choice=choice,
        noise_multiplier=choice.plan.noise_multiplier or 0.0,
        noise_stddev=stddev,
        rmse=scale * math.sqrt(strategy.mean_squared_error(goal)),
        max_error=scale * math.sqrt(strategy.max_squared_error(goal)),
    )


def strategy_of(plan: Plan) -> Strategy:
    """Return the strategy of a complete plan; that of independent noise where it has no other."""
    if isinstance(plan.mechanism, str):
        return Identity(plan.steps or 1)
    return plan.mechanism


def within(recommendation: Recommendation, memory: int | None) -> Recommendation | None:
    """Leave out what keeps more than so many model copies; None where nothing is left."""
    kept = tuple(
        choice for choice in recommendation.choices if memory is None or choice.memory <= memory
    )
    if not kept:
        return None
    return Recommendation(
        kept,
        recommendation.refused,
        recommendation.epsilon,
        recommendation.objective,
        recommendation.bound,
    )


def gigabytes(copies: int, parameters: int) -> float:
    """Return the memory of so many copies of a model in single precision, in 1e9 bytes."""
    return copies * parameters * _BYTES / 1e9


def best_possible(recommendation: Recommendation) -> float | None:
    """Return the error that no correlated noise is below, in clipping norms; None if unknown."""
    for choice in recommendation.choices:
        gap = recommendation.gap(choice)
        if gap is not None and not isinstance(choice.plan.mechanism, str):
            return choice.error / (1.0 + gap / 100.0)
    return None


def best_of_each_kind(found: Iterable[Measured]) -> tuple[Measured, ...]:
    """Return the first of each kind of design, in their order."""
    kept: dict[str, Measured] = {}
    for one in found:
        kept.setdefault(one.choice.design.kind, one)
    return tuple(kept.values())


@dataclass(frozen=True, slots=True)
class SizePoint:
    """A design of one kind: its bands or buffers, its error, what it keeps."""

    size: int
    error: float
    memory: int


def by_size(recommendation: Recommendation) -> Mapping[str, tuple[SizePoint, ...]]:
    """Return, for every kind of design, its points by growing size; kinds without size have one."""
    found: dict[str, list[SizePoint]] = {}
    for choice in recommendation.choices:
        design = choice.design
        points = found.setdefault(design.kind, [])
        points.append(SizePoint(design.size, choice.error, choice.memory))
    return {
        kind: tuple(sorted(found[kind], key=lambda point: point.size))
        for kind in DESIGNS
        if kind in found
    }


# -- curves ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """The standard error of what is estimated after so many steps, in clipping norms."""

    step: int
    error: float


def error_over_steps(
    plan: Plan, workload: Workload | None = None, points: int = 400
) -> tuple[Point, ...]:
    """Return how the error grows over a complete plan's run, at most so many points.

    Parameters
    ----------
    plan : Plan
    workload : Workload, optional
        What is estimated; without it, prefix sums.
    points : int
        At least 2. The first step and the last are among them; the others are about evenly spread
        by their logarithm.

    Raises
    ------
    ValueError
        If the run is too long for anything but closed forms, and the mechanism has none.
    """
    strategy, scale = strategy_of(plan), plan.noise_stddev / plan.clip_norm
    goal = workloads.prefix_sum(strategy.steps) if workload is None else workload
    most = whole_count(points, "points", 2)
    if strategy.steps <= _LONGEST_VECTOR:
        steps = _spread(strategy.steps, most)
        squared = strategy.squared_errors(goal)
        return tuple(Point(step, scale * math.sqrt(squared[step - 1])) for step in steps)
    steps = _spread(strategy.steps, min(most, _CLOSED_FORMS))
    return tuple(Point(step, scale * _error_at(strategy, goal, step)) for step in steps)


def _spread(last: int, points: int) -> list[int]:
    """Return whole numbers from 1 to `last`, each once, about evenly spread by their logarithm."""
    if last <= points:
        return list(range(1, last + 1))
    spread = {round(last ** (k / (points - 1))) for k in range(points)}
    return sorted({1, last, *(min(step, last) for step in spread)})


def _error_at(strategy: Strategy, workload: Workload, step: int) -> float:
    """Return the root of the squared error of one step, from closed forms.

    Where strategy and workload treat all steps alike, squared errors grow from step to step, and do
    not depend on the steps after: the last of a shorter run is the largest of it.
    """
    poles = workload.poles
    if poles is None or not isinstance(strategy, BLT | Identity):
        raise ValueError(
            f"the error over steps of this mechanism is drawn for at most {_LONGEST_VECTOR} steps, "
            f"not for {strategy.steps}"
        )
    shorter: Strategy = Identity(step)
    if isinstance(strategy, BLT):
        shorter = BLT(step, strategy.decay, strategy.weights)
    return math.sqrt(shorter.max_squared_error(workloads.ToeplitzWorkload(step, poles=poles)))
