"""What a person asks around a plan: what it means, how it grows, what else the same epsilon buys.

Everything here is a view of `Plan.loss` and `Plan.calibrate`, so every epsilon is certified and
every calibrated plan keeps to its target. Curves come one point at a time: a point of a slow tail
takes up to a third of a second, and whoever draws the curve may stop in between.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal

from accountant import CalibrationError
from mechanisms.plan import Plan
from mechanisms.planning.fields import LARGEST_COUNT, PlanError
from mechanisms.planning.samplers import ALLOCATED

__all__ = [
    "Concern",
    "Cost",
    "FrontierPoint",
    "Outlook",
    "concerns",
    "cost_after",
    "frontier_grid",
    "frontier_point",
    "milestones",
    "noise_saved_by_doubling",
    "outlook",
    "suggested_delta",
    "written",
]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a complete plan costs and means.

    Attributes
    ----------
    plan : Plan
    lower, upper : float
        The certified bracket of epsilon at the plan's delta.
    tight : bool
        False where the bracket is sound but wider than usual.
    advantage : float
        The most by which any attack's true positive rate can exceed its false positive rate.
    false_positive_rate, true_positive_rate : float
        Of all attacks with this rate of false alarms none finds more than that share.
    """

    plan: Plan
    lower: float
    upper: float
    tight: bool
    advantage: float
    false_positive_rate: float
    true_positive_rate: float


def outlook(plan: Plan, false_positive_rate: float = 0.01) -> Outlook:
    """Evaluate a complete plan.

    Raises
    ------
    PlanError
        If the plan leaves open what it costs.
    """
    if plan.delta is None:
        raise PlanError("delta", None, "given, to state an epsilon")
    bounds = plan.loss.epsilon_bounds(plan.delta)
    missed = float(plan.loss.fnr(false_positive_rate))
    return Outlook(
        plan=plan,
        lower=float(bounds.lower),
        upper=float(bounds.upper),
        tight=bool(bounds.tight),
        advantage=float(plan.loss.advantage()),
        false_positive_rate=false_positive_rate,
        # 1 - missed is rounded to nearest: one step up makes it an upper bound again.
        true_positive_rate=min(1.0, math.nextafter(1.0 - missed, 2.0)),
    )


# -- epsilon over the course of training -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """The certified epsilon of the first so many steps of a plan."""

    steps: int
    epochs: float | None
    lower: float
    upper: float


def milestones(plan: Plan, points: int = 40) -> tuple[int, ...]:
    """Return numbers of steps at which to look, denser where epsilon rises fastest: early on.

    The first step (of balls in bins: the first epoch) and the last are always among them. With
    correlated noise it is the last alone: the run is one release.
    """
    if plan.steps is None:
        raise PlanError("steps", None, "given, or epochs, to look along the run")
    if not isinstance(plan.mechanism, str):
        return (plan.steps,)
    steps = plan.steps
    spread = (math.ceil(steps * (k / points) ** 2) for k in range(1, points + 1))
    # Balls in bins are planned in whole epochs.
    unit = steps // (plan.max_participations or 1) if plan.sampler in ALLOCATED else 1
    return tuple(sorted({unit, steps, *(min(-(-step // unit) * unit, steps) for step in spread)}))


def cost_after(plan: Plan, steps: int) -> Cost:
    """Return what the first `steps` steps of a complete plan cost at its delta."""
    part = plan.replace(steps=steps)
    if part.delta is None:
        raise PlanError("delta", None, "given, to state an epsilon")
    bounds = part.loss.epsilon_bounds(part.delta)
    epochs = None if part.epochs is None else float(part.epochs)
    return Cost(steps, epochs, float(bounds.lower), float(bounds.upper))


# -- other runs at the same price ------------------------------------------------------------------

# A frontier is drawn from a 32nd of the plan's batch to 32 times it, and for a quarter of its
# epochs, its own, and four times as many: the range in which a run of that kind can be moved.
_DOUBLINGS = range(-5, 6)
_EPOCH_FACTORS = (0.25, 1, 4)


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """A run of the same price: the least noise that a batch size and a number of epochs need.

    `noise_multiplier` is None where no noise multiplier in the engine's range meets the target.
    """

    batch_size: int
    epochs: float
    steps: int
    noise_multiplier: float | None
    noise_to_batch_ratio: float | None


def frontier_grid(plan: Plan) -> tuple[tuple[float, tuple[int, ...]], ...]:
    """Return, for each number of epochs, the batch sizes at which to look.

    Empty where the plan does not draw random batches from a data set of known size: then there is
    no batch size to trade against noise.
    """
    size, batch, epochs = plan.dataset_size, plan.batch_size, plan.epochs
    if plan.sampler != "poisson" or size is None or batch is None or epochs is None:
        return ()
    # Where every point takes a lattice, and seconds for each candidate, there is none either.
    if plan.neighboring_relation == "replace_one" or plan.max_batch_size is not None:
        return ()
    middle = max(1, round(batch))
    batches = {min(size, math.ceil(middle * 2.0**doubling)) for doubling in _DOUBLINGS}
    grid = tuple((epochs * factor, tuple(sorted(batches))) for factor in _EPOCH_FACTORS)
    return tuple(
        (length, tuple(b for b in batches if length * size / b <= LARGEST_COUNT))
        for length, batches in grid
    )


def frontier_point(plan: Plan, epsilon: float, batch_size: int, epochs: float) -> FrontierPoint:
    """Find the least noise with which another batch size and length cost at most `epsilon`."""
    other = plan.replace(batch_size=batch_size, epochs=epochs, noise_multiplier=None)
    if other.steps is None:
        raise PlanError("dataset_size", None, "given, to vary the batch size")
    try:
        found = other.calibrate(epsilon=epsilon)
    except CalibrationError:
        return FrontierPoint(batch_size, epochs, other.steps, None, None)
    sigma, ratio = found.noise_multiplier, found.noise_to_batch_ratio
    return FrontierPoint(batch_size, epochs, other.steps, sigma, ratio)


def noise_saved_by_doubling(plan: Plan, points: tuple[FrontierPoint, ...]) -> float | None:
    """Return the share of the noise-to-batch ratio that a doubled batch would save.

    Parameters
    ----------
    plan : Plan
        A complete plan.
    points : tuple of FrontierPoint
        Points of its frontier, for its own number of epochs.
    """
    if plan.batch_size is None:
        return None
    doubled = round(plan.batch_size) * 2
    for point in points:
        if point.batch_size == doubled and point.noise_to_batch_ratio is not None:
            return 1.0 - point.noise_to_batch_ratio / plan.noise_to_batch_ratio
    return None


# -- sound practice --------------------------------------------------------------------------------


def suggested_delta(dataset_size: int) -> float:
    """Propose a delta for a data set: its size to the power -1.1, rounded down to one digit.

    A mechanism that publishes each example with probability delta satisfies (0, delta)-DP: with
    delta = 1/N one of N examples would be out on average. The exponent keeps that well below one
    (Ponomareva et al., "How to DP-fy ML", arXiv:2303.00654, section 5.3.2).
    """
    power = Decimal(dataset_size) ** Decimal("-1.1")
    return float(Context(prec=1, rounding=ROUND_FLOOR).plus(min(power, Decimal("0.1"))))


@dataclass(frozen=True, slots=True)
class Concern:
    """A practice that is not sound: which field it is about, why, and what would mend it.

    `remedies` holds what a button that mends it would say, and the value it gives to the field.
    """

    field: str
    title: str
    reason: str
    remedies: tuple[tuple[str, str | float], ...]


def concerns(plan: Plan) -> Iterator[Concern]:
    """Look at a plan as a careful reviewer would."""
    size, delta = plan.dataset_size, plan.delta
    if size is not None and delta is not None and Decimal(repr(delta)) * size > 1:
        better = suggested_delta(size)
        yield Concern(
            "delta",
            f"δ is above 1/N = {written(float(f'{1 / size:.2g}'))}.",
            "A mechanism that publishes one example chosen at random would pass this test. "
            "Choose δ well below one in the number of examples.",
            ((f"Use δ = {written(better)}", better),),
        )
    if "sampler" not in plan.stated:
        yield Concern(
            "sampler",
            "How batches are drawn is not stated: Poisson sampling is assumed.",
            "Most data loaders shuffle instead, and then the run costs more than this number. "
            "Say which of the two yours does.",
            (("It is Poisson sampling", "poisson"), ("It shuffles", "fixed_order")),
        )


def written(value: float) -> str:
    """Write a number in the shortest way that reads back the same: 5e-6, not 5e-06, and 3."""
    text = f"{Decimal(repr(value)).normalize():e}" if abs(value) < 1e-3 else repr(value)
    mantissa, mark, exponent = text.partition("e")
    if not mark or not int(exponent):
        return mantissa.removesuffix(".0")
    return f"{mantissa}e{int(exponent)}"
