"""Find the one thing that a plan leaves out, on the safe side.

For every candidate the whole plan is evaluated, with its certified upper bound, so that what is
returned meets the target as it stands.

With the number of steps held, epsilon grows with the batch. With the number of epochs held it is a
sawtooth: within a run of batch sizes that share a number of steps epsilon grows, and where one
step less is needed it drops. It need not even grow on the whole: with little noise and a tiny
delta, more but rarer participations can cost more than a full batch. So the lowest points of the
teeth are scanned from above first, then searched, and then the tooth itself is.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn, cast

from mechanisms.plan_fields import (
    LARGEST_COUNT,
    NOISE_RANGE,
    PlanError,
    exact,
    finite_number,
    shown,
)
from mechanisms.plan_search import boundary

if TYPE_CHECKING:
    from mechanisms.plan import Plan

__all__ = ["Target", "calibrated", "target"]

_SMALLEST_PROBABILITY = 1e-12
_SCAN = 12  # batch sizes looked at between the whole data set and a single example
_TEETH = 3  # teeth looked at beyond the first one that is too high


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan has to reach: `value` for epsilon, advantage or TPR (at `fpr`)."""

    quantity: str
    value: float
    fpr: float | None = None

    def reached(self, plan: "Plan") -> float:
        """Return the certified upper bound of the target's quantity for a plan."""
        if self.quantity == "epsilon":
            return plan.epsilon
        if self.quantity == "advantage":
            return float(plan.loss.advantage())
        from accountant.guarantee import true_positive_rate

        return true_positive_rate(plan.loss, cast(float, self.fpr))

    def cost(self, plan: "Plan") -> float:
        """Return log(reached / allowed): at most 0 exactly where the plan meets the target."""
        reached = self.reached(plan)
        if reached <= self.value:
            return min(0.0, _log(reached) - math.log(self.value))
        # Subtracting logarithms could round a narrow miss to 0.
        return max(5e-324, _log(reached) - math.log(self.value))

    def __str__(self) -> str:
        at = f" at fpr={self.fpr!r}" if self.fpr is not None else ""
        return f"{self.quantity}={self.value!r}{at}"


def target(*, epsilon: Any, advantage: Any, tpr: Any, fpr: Any) -> Target:
    """Return the target that was asked for, checked.

    Raises
    ------
    PlanError
        Unless exactly one target is given, within its range.
    """
    given = {"epsilon": epsilon, "advantage": advantage, "tpr": tpr}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) != 1:
        reason = f"not {' and '.join(asked)}" if asked else None
        raise PlanError("target", None, "one of epsilon, advantage, or tpr with fpr", reason)
    name = asked[0]
    value = _real(name, given[name], math.inf if name == "epsilon" else 1.0)
    if name != "tpr":
        if fpr is not None:
            raise PlanError("fpr", fpr, "left out, unless a tpr is the target")
        return Target(name, value)
    if fpr is None:
        raise PlanError("fpr", None, "given together with tpr")
    rate = _real("fpr", fpr, 1.0)
    if not rate < value:
        reason = "guessing at random reaches a tpr equal to the fpr"
        raise PlanError("tpr", value, f"more than fpr={rate!r}", reason)
    return Target(name, value, rate)


def calibrated(plan: "Plan", goal: Target) -> "Plan":
    """Return the plan with its one missing field filled in; see `Plan.calibrate`."""
    missing = [name for name in plan.missing if name != "delta"]
    if goal.quantity == "epsilon" and plan.delta is None:
        raise PlanError("delta", None, "given, to calibrate to an epsilon")
    if not missing:
        reason = "leave out what calibrate should find: that, batch_size, epochs or steps"
        raise PlanError("noise_multiplier", plan.noise_multiplier, "left out", reason)
    if len(missing) > 1:
        reason = f"calibrate finds one thing, and {missing[0]} is missing too"
        raise PlanError(missing[1], None, "given", reason)
    if missing == ["noise_multiplier"]:
        return _smallest_noise(plan, goal)
    if missing == ["steps"]:
        return _most_steps(plan, goal)
    return _largest_batch(plan, goal)


class _Candidates:
    """Plans with one field filled in, each evaluated once."""

    def __init__(self, plan: "Plan", field: str, goal: Target) -> None:
        self.plan, self.field, self.goal = plan, field, goal
        self._costs: dict[float, float] = {}

    def __getitem__(self, value: float) -> "Plan":
        return self.plan.replace(**{self.field: value})

    def cost(self, value: float) -> float:
        if value not in self._costs:
            self._costs[value] = self.goal.cost(self[value])
        return self._costs[value]

    def meets(self, value: float) -> bool:
        return self.cost(value) <= 0

    def unreachable(self) -> NoReturn:
        """Name the best of what was tried."""
        from accountant import CalibrationError

        best = min(self._costs, key=lambda value: self._costs[value])
        raise CalibrationError(
            f"No {self.field} reaches {self.goal}: the best is {self.goal.quantity}="
            f"{self.goal.reached(self[best])!r}, at {self.field}={shown(best)}."
        )

    def unbounded(self, limit: float) -> NoReturn:
        """Say that the target asks for nothing."""
        from accountant import CalibrationError

        raise CalibrationError(
            f"Every {self.field} as far as {shown(limit)} meets {self.goal}, so there is no "
            f"{'smallest' if self.field == 'noise_multiplier' else 'largest'} one: there it is "
            f"{self.goal.quantity}={self.goal.reached(self[limit])!r}."
        )


def _smallest_noise(plan: "Plan", goal: Target) -> "Plan":
    tried = _Candidates(plan, "noise_multiplier", goal)
    least, most = NOISE_RANGE
    good = bad = 1.0
    while not tried.meets(good):
        if good >= most:
            tried.unreachable()
        bad, good = good, min(good * 4, most)
    while tried.meets(bad):
        if bad <= least:
            tried.unbounded(bad)
        good, bad = bad, max(bad / 4, least)
    return tried[boundary(tried.cost, good, bad, whole=False)]


def _most_steps(plan: "Plan", goal: Target) -> "Plan":
    tried = _Candidates(plan, "steps", goal)
    good = bad = 1024
    while tried.meets(bad):
        if bad >= LARGEST_COUNT:
            tried.unbounded(bad)
        good, bad = bad, min(bad * 16, LARGEST_COUNT)
    while not tried.meets(good):
        if good <= 1:
            tried.unreachable()
        bad, good = good, max(good // 16, 1)
    return tried[boundary(tried.cost, good, bad, whole=True)]


def _largest_batch(plan: "Plan", goal: Target) -> "Plan":
    size = plan.dataset_size
    if plan.sampler == "fixed_order" and size is None:
        raise PlanError("dataset_size", None, "given for batches in a fixed order")
    if size is None:
        return _largest_probability(plan, goal)
    tried = _Candidates(plan, "batch_size", goal)
    if tried.meets(size):
        return tried[size]
    if plan.fields.epochs is None:
        # From above: a batch much smaller than the answer has a slow tail, and takes seconds.
        bad, good = size, max(1, size // 16)
        while not tried.meets(good):
            if good == 1:
                tried.unreachable()
            bad, good = good, max(1, good // 16)
        return tried[boundary(tried.cost, good, bad, whole=True)]
    if plan.sampler == "fixed_order":
        reason = "what an example costs depends on the epochs, and hardly on the batch"
        raise PlanError("batch_size", None, "given for batches in a fixed order", reason)

    teeth = _Teeth(exact(plan.fields.epochs) * size, size)

    def lowest_cost(batch: float) -> float:
        return tried.cost(teeth.first(batch))

    scan = teeth.scan()
    below = next((i for i, batch in enumerate(scan) if lowest_cost(batch) <= 0), None)
    if below is None:
        tried.unreachable()
    edge = scan[below]
    if below > 0:
        edge = round(boundary(lowest_cost, edge, scan[below - 1], whole=True))
    first, later = teeth.first(edge), edge
    for _ in range(_TEETH):
        later = teeth.last(later) + 1
        if later > size:
            break
        if tried.meets(later):
            first = later
    last = teeth.last(first)
    if tried.meets(last):
        return tried[last]
    return tried[boundary(tried.cost, first, last, whole=True)]


class _Teeth:
    """Runs of batch sizes that need the same number of steps for `examples` examples."""

    def __init__(self, examples: Fraction, size: int) -> None:
        self.examples, self.size = examples, size

    def scan(self) -> list[int]:
        """Return batch sizes to look at first, the largest first: every tooth, later samples."""
        top = [self.size]
        while len(top) <= _TEETH and self.first(top[-1]) > 1:
            top.append(self.first(top[-1]) - 1)
        spread = (max(1, round(self.size ** (1 - i / _SCAN))) for i in range(1, _SCAN + 1))
        return top + sorted({batch for batch in spread if batch < top[-1]}, reverse=True)

    def first(self, batch: float) -> int:
        """Return the smallest batch size that needs as few steps: the lowest epsilon of its run."""
        return math.ceil(self.examples / math.ceil(self.examples / round(batch)))

    def last(self, batch: float) -> int:
        """Return the largest batch size that needs as many steps."""
        steps = math.ceil(self.examples / round(batch))
        return (
            self.size if steps == 1 else min(self.size, math.ceil(self.examples / (steps - 1)) - 1)
        )


def _largest_probability(plan: "Plan", goal: Target) -> "Plan":
    if plan.fields.epochs is not None:
        raise PlanError("dataset_size", None, "given, to find the batch size for so many epochs")
    tried = _Candidates(plan, "sampling_probability", goal)
    if tried.meets(1.0):
        return tried[1.0]
    bad, good = 1.0, 1 / 16
    while not tried.meets(good):
        if good <= _SMALLEST_PROBABILITY:
            tried.unreachable()
        bad, good = good, max(good / 16, _SMALLEST_PROBABILITY)
    return tried[boundary(tried.cost, good, bad, whole=False)]


def _real(name: str, value: object, end: float) -> float:
    allowed = f"a number in the interval (0, {end:g})"
    number = float(finite_number(name, value, allowed))
    if not 0 < number < end:
        raise PlanError(name, value, allowed)
    return number


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
