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
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn, cast

from mechanisms.planning.event import upper
from mechanisms.planning.fields import (
    LARGEST_COUNT,
    PlanError,
    exact,
    finite_number,
    shown,
)
from mechanisms.planning.samplers import (
    ALLOCATED,
    COUNTED,
    IN_WORDS,
    batches,
    noise_range,
    smallest_batch,
)
from mechanisms.planning.search import around, boundary

if TYPE_CHECKING:
    from mechanisms.plan import Plan
    from mechanisms.strategies import Strategy

__all__ = ["Target", "calibrated", "target"]

_SMALLEST_PROBABILITY = 1e-12
_SCAN = 12  # batch sizes looked at between the largest and a single example
_ROUNDS = 30  # steps of a ten-thousandth by which a noise multiplier is raised
_TEETH = 3  # teeth looked at beyond the first one that is too high
_ROUGHLY = 1e-4  # relative width of bounds that only show where to look


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
            return float(upper(plan).advantage())
        from accountant.guarantee import true_positive_rate

        return true_positive_rate(upper(plan), cast(float, self.fpr))

    def about(self, plan: "Plan") -> float:
        """Return an upper bound of the quantity that is quicker, and close in most cases."""
        loss = upper(plan)
        if self.quantity == "tpr":
            import numpy as np

            # No attack is above any of its curve's supporting lines.
            fpr = cast(float, self.fpr)
            slopes = np.linspace(0.0, -math.log(fpr), 25)
            lines = loss.delta(slopes, rtol=10 * _ROUGHLY) + np.exp(slopes) * fpr
            return float(np.min(lines))
        if self.quantity == "advantage":
            bounds = loss.delta_bounds(0.0, rtol=_ROUGHLY)
        else:
            bounds = loss.epsilon_bounds(plan.delta, rtol=_ROUGHLY)
        decided = bounds.tight or bounds.lower > self.value
        return float(bounds.upper) if decided else self.reached(plan)

    def cost(self, reached: float) -> float:
        """Return log(reached / allowed): at most 0 exactly where the target is met."""
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
    if not isinstance(plan.mechanism, str):
        reason = "a mechanism is made for one length and for its batches' order: find its noise"
        raise PlanError(missing[0], None, "given with correlated noise", reason)
    if missing == ["steps"]:
        return _most_steps(plan, goal)
    return _largest_batch(plan, goal)


class _Candidates:
    """Plans with one field filled in, each evaluated once."""

    def __init__(self, plan: "Plan", field: str, goal: Target, unit: int = 1) -> None:
        self.plan, self.field, self.goal, self.unit = plan, field, goal, unit
        self._costs: dict[float, float] = {}
        self._abouts: dict[float, float] = {}

    def __getitem__(self, value: float) -> "Plan":
        return self.plan.replace(**{self.field: value * self.unit})

    def cost(self, value: float) -> float:
        if value not in self._costs:
            self._costs[value] = self.goal.cost(self.goal.reached(self[value]))
        return self._costs[value]

    def about(self, value: float) -> float:
        """Return the cost, or where that takes long what it is about."""
        if not _slow(self.plan):
            return self.cost(value)
        if value not in self._abouts:
            self._abouts[value] = self.goal.cost(self.goal.about(self[value]))
        return self._abouts[value]

    def meets(self, value: float) -> bool:
        return self.cost(value) <= 0

    def seems_to_meet(self, value: float) -> bool:
        return self.about(value) <= 0

    def edge(self, good: float, bad: float, ends: tuple[float, float], whole: bool = True) -> float:
        """Return the last value that meets the target, between two that seem to and not to."""
        return self.edge_of(self.cost, self.about, good, bad, ends, whole)

    def edge_of(
        self,
        cost: Callable[[float], float],
        about: Callable[[float], float],
        good: float,
        bad: float,
        ends: tuple[float, float],
        whole: bool = True,
    ) -> float:
        """Do the same for a function of the cost; `ends` are the least and the greatest value."""
        if not _slow(self.plan):
            return boundary(cost, good, bad, whole=whole)
        near = boundary(about, good, bad, whole=whole, rtol=_ROUGHLY)
        low, high = ends if good < bad else ends[::-1]
        inner, outer = around(cost, near, low, high, whole=whole)
        if inner is None:
            self.unreachable()
        return inner if outer is None else boundary(cost, inner, outer, whole=whole)

    def unreachable(self) -> NoReturn:
        """Name the best of what was tried."""
        from accountant import CalibrationError

        tried = self._abouts | self._costs
        best = min(tried, key=lambda value: tried[value])
        raise CalibrationError(
            f"No {self.field} reaches {self.goal}: the best is {self.goal.quantity}="
            f"{self.goal.reached(self[best])!r}, at {self.field}={shown(best * self.unit)}."
        )

    def unbounded(self, limit: float) -> NoReturn:
        """Say that the target asks for nothing."""
        from accountant import CalibrationError

        extreme = "smallest" if self.field == "noise_multiplier" else "largest"
        raise CalibrationError(
            f"Every {self.field} as far as {shown(limit * self.unit)} meets {self.goal}, so there "
            f"is no {extreme} one: there it is "
            f"{self.goal.quantity}={self.goal.reached(self[limit])!r}."
        )


def _slow(plan: "Plan") -> bool:
    """Whether a query of a plan takes a lattice, and up to seconds."""
    if plan.sampler == "without_replacement":
        return True
    symmetric = plan.neighboring_relation == "replace_one"
    return plan.sampler == "poisson" and (symmetric or plan.max_batch_size is not None)


def _smallest_noise(plan: "Plan", goal: Target) -> "Plan":
    if plan.sampler == "balls_in_bins_once" and not isinstance(plan.mechanism, str):
        return _smallest_noise_of_bins(plan, plan.mechanism, goal)
    tried = _Candidates(plan, "noise_multiplier", goal)
    least, most = noise_range(plan.sampler)
    good = bad = 1.0
    while not tried.seems_to_meet(good):
        if good >= most:
            tried.unreachable()
        bad, good = good, min(good * 4, most)
    while tried.seems_to_meet(bad):
        if bad <= least:
            tried.unbounded(bad)
        good, bad = bad, max(bad / 4, least)
    return tried[tried.edge(good, bad, (least, most), whole=False)]


def _smallest_noise_of_bins(plan: "Plan", mechanism: "Strategy", goal: Target) -> "Plan":
    """Search with one bound for all noise multipliers, because finding the best takes seconds."""
    from mechanisms.amplification import balls_in_bins_noise_multiplier
    from mechanisms.participation import BallsInBins
    from mechanisms.planning.event import relation
    from mechanisms.planning.participation import participation

    if goal.quantity != "epsilon" or plan.delta is None:
        reason = "correlated noise with balls in bins is calibrated to an epsilon"
        raise PlanError("target", goal.quantity, "epsilon", reason)
    bins = participation(plan)
    assert isinstance(bins, BallsInBins)
    noise = balls_in_bins_noise_multiplier(
        mechanism, bins, epsilon=goal.value, delta=plan.delta, relation=relation(plan)
    )
    for _ in range(_ROUNDS):
        found = plan.replace(noise_multiplier=noise)
        if goal.reached(found) <= goal.value:
            return found
        noise *= 1.0 + _ROUGHLY
    return _Candidates(plan, "noise_multiplier", goal).unreachable()


def _most_steps(plan: "Plan", goal: Target) -> "Plan":
    unit = 1
    if plan.sampler in ALLOCATED:
        unit = batches({"dataset_size": plan.dataset_size, "batch_size": plan.batch_size}) or 1
    tried = _Candidates(plan, "steps", goal, unit)
    most = LARGEST_COUNT // unit
    good = bad = min(1024, most)
    while tried.seems_to_meet(bad):
        if bad >= most:
            tried.unbounded(bad)
        good, bad = bad, min(bad * 16, most)
    while not tried.seems_to_meet(good):
        if good <= 1:
            tried.unreachable()
        bad, good = good, max(good // 16, 1)
    return tried[tried.edge(good, bad, (1, most))]


def _largest_batch(plan: "Plan", goal: Target) -> "Plan":
    size, epochs = plan.dataset_size, plan.fields.epochs
    if size is None and plan.sampler in COUNTED:
        raise PlanError("dataset_size", None, f"given for {IN_WORDS[plan.sampler]}")
    if size is None:
        return _largest_probability(plan, goal)
    if epochs is None and plan.sampler in ALLOCATED:
        reason = "they are whole, and so many steps are not whole epochs of every batch size"
        raise PlanError("epochs", None, "given instead of steps, to find a batch size", reason)
    tried = _Candidates(plan, "batch_size", goal)
    # Beyond a cap batches only look larger.
    most = min(size // (plan.groups or 1), plan.max_batch_size or size)
    if tried.meets(most):
        return tried[most]
    if epochs is None or plan.sampler in ALLOCATED:
        least = smallest_batch(plan.sampler, size)
        # From above: a batch much smaller than the answer has a slow tail, and takes seconds.
        bad, good = most, max(least, most // 16)
        while not tried.seems_to_meet(good):
            if good == least:
                tried.unreachable()
            bad, good = good, max(least, good // 16)
        return tried[tried.edge(good, bad, (least, most))]
    if plan.sampler in ("fixed_order", "shuffled", "min_separation"):
        reason = "what an example costs depends on the epochs, and hardly on the batch"
        raise PlanError("batch_size", None, f"given for {IN_WORDS[plan.sampler]}", reason)
    return tried[_largest_of_epochs(tried, most, _Teeth(exact(epochs) * size, most))]


def _largest_of_epochs(tried: _Candidates, most: int, teeth: "_Teeth") -> float:
    """Return the largest batch size that meets the target with so many epochs."""

    def lowest_cost(batch: float) -> float:
        return tried.cost(teeth.first(batch))

    def lowest_about(batch: float) -> float:
        return tried.about(teeth.first(batch))

    scan = teeth.scan()
    below = next((i for i, batch in enumerate(scan) if lowest_about(batch) <= 0), None)
    if below is None:
        tried.unreachable()
    edge = scan[below]
    if below > 0:
        good, bad = edge, scan[below - 1]
        edge = round(tried.edge_of(lowest_cost, lowest_about, good, bad, (1, most)))
    first, later = teeth.first(edge), edge
    for _ in range(_TEETH):
        later = teeth.last(later) + 1
        if later > most:
            break
        if tried.meets(later):
            first = later
    last = teeth.last(first)
    return last if tried.meets(last) else boundary(tried.cost, first, last, whole=True)


class _Teeth:
    """Runs of batch sizes that need the same number of steps for `examples` examples."""

    def __init__(self, examples: Fraction, most: int) -> None:
        self.examples, self.most = examples, most

    def scan(self) -> list[int]:
        """Return batch sizes to look at first, the largest first: every tooth, later samples."""
        top = [self.most]
        while len(top) <= _TEETH and self.first(top[-1]) > 1:
            top.append(self.first(top[-1]) - 1)
        spread = (max(1, round(self.most ** (1 - i / _SCAN))) for i in range(1, _SCAN + 1))
        return top + sorted({batch for batch in spread if batch < top[-1]}, reverse=True)

    def first(self, batch: float) -> int:
        """Return the smallest batch size that needs as few steps: the lowest epsilon of its run."""
        return math.ceil(self.examples / math.ceil(self.examples / round(batch)))

    def last(self, batch: float) -> int:
        """Return the largest batch size that needs as many steps."""
        steps = math.ceil(self.examples / round(batch))
        return (
            self.most if steps == 1 else min(self.most, math.ceil(self.examples / (steps - 1)) - 1)
        )


def _largest_probability(plan: "Plan", goal: Target) -> "Plan":
    if plan.fields.epochs is not None:
        raise PlanError("dataset_size", None, "given, to find the batch size for so many epochs")
    tried = _Candidates(plan, "sampling_probability", goal)
    if tried.meets(1.0):
        return tried[1.0]
    bad, good = 1.0, 1 / 16
    while not tried.seems_to_meet(good):
        if good <= _SMALLEST_PROBABILITY:
            tried.unreachable()
        bad, good = good, max(good / 16, _SMALLEST_PROBABILITY)
    return tried[tried.edge(good, bad, (_SMALLEST_PROBABILITY, 1.0), whole=False)]


def _real(name: str, value: object, end: float) -> float:
    allowed = f"a number in the interval (0, {end:g})"
    number = float(finite_number(name, value, allowed))
    if not 0 < number < end:
        raise PlanError(name, value, allowed)
    return number


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
