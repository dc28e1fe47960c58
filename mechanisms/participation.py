"""How often, and in which steps, one example takes part in a run.

A pattern is the set of steps of one example; a class here says which patterns may occur, or with
which probability.  Steps i and j may both be an example's where ``|i - j|`` is at least the
separation (arXiv 2306.08153; TF-Privacy and arXiv 2103.00039 count the steps in between, one less).
"""

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

from accountant.parameters import probability, short, whole_count

__all__ = [
    "BallsInBins",
    "CyclicPoisson",
    "FixedEpochOrder",
    "MinSeparation",
    "Participation",
    "SingleParticipation",
    "checked",
    "federated",
    "from_dict",
    "to_dict",
]


@dataclass(frozen=True, slots=True)
class SingleParticipation:
    """At most one step, whichever it is: one pass over the data."""

    name: ClassVar[str] = "single"

    def count(self, steps: int) -> int:
        """Return the most steps that one example takes part in, of so many."""
        return min(1, steps)

    def separation(self, steps: int) -> int:
        """Return the least distance between two of them, at most the number of steps."""
        return max(1, steps)

    def __str__(self) -> str:
        return "one participation"


@dataclass(frozen=True, slots=True)
class MinSeparation:
    """Any steps, as long as they are far enough apart.

    Attributes
    ----------
    min_separation : int
        Steps i and j may both be an example's where ``|i - j| >= min_separation``; at least 1.
    max_participations : int, optional
        The most of them; without it, as many as fit.
    """

    name: ClassVar[str] = "min_separation"

    min_separation: int
    max_participations: int | None = None

    def __post_init__(self) -> None:
        _set(self, "min_separation", whole_count(self.min_separation, "min_separation", 1))
        if self.max_participations is not None:
            most = whole_count(self.max_participations, "max_participations", 1)
            _set(self, "max_participations", most)

    def count(self, steps: int) -> int:
        """Return the most steps that one example takes part in, of so many."""
        fit = -(-steps // self.min_separation)
        return fit if self.max_participations is None else min(fit, self.max_participations)

    def separation(self, steps: int) -> int:
        """Return the least distance between two of them, at most the number of steps."""
        return max(1, min(self.min_separation, steps))

    def __str__(self) -> str:
        most = self.max_participations
        said = "any number of participations" if most is None else f"at most {_times(most)}"
        return f"{said}, at least {self.min_separation} steps apart"


@dataclass(frozen=True, slots=True)
class FixedEpochOrder:
    """Steps i, i + epoch_length, i + 2 epoch_length, ..., for one i: every epoch in one order.

    Attributes
    ----------
    epoch_length : int
        Steps in one pass over the data, at least 1.
    max_participations : int, optional
        The most passes; without it, as many as there are steps for.
    """

    name: ClassVar[str] = "fixed_epoch_order"

    epoch_length: int
    max_participations: int | None = None

    def __post_init__(self) -> None:
        _set(self, "epoch_length", whole_count(self.epoch_length, "epoch_length", 1))
        if self.max_participations is not None:
            most = whole_count(self.max_participations, "max_participations", 1)
            _set(self, "max_participations", most)

    def count(self, steps: int) -> int:
        """Return the most steps that one example takes part in, of so many."""
        fit = -(-steps // self.epoch_length)
        return fit if self.max_participations is None else min(fit, self.max_participations)

    def separation(self, steps: int) -> int:
        """Return the least distance between two of them, at most the number of steps."""
        return max(1, min(self.epoch_length, steps))

    def __str__(self) -> str:
        most = self.max_participations
        said = "" if most is None else f", at most {_times(most)}"
        return f"once in every epoch of {self.epoch_length} steps, in a fixed order{said}"


@dataclass(frozen=True, slots=True)
class CyclicPoisson:
    """A fixed partition into groups that take turns; the group's examples are Poisson-sampled.

    Step t draws its batch from group ``t mod groups`` (arXiv 2306.08153, section 4).

    Attributes
    ----------
    groups : int
        At least 1.
    sampling_probability : float
        Of each example of the group whose turn it is, within (0, 1].
    """

    name: ClassVar[str] = "cyclic_poisson"

    groups: int
    sampling_probability: float

    def __post_init__(self) -> None:
        _set(self, "groups", whole_count(self.groups, "groups", 1))
        share = probability(self.sampling_probability, "sampling_probability")
        if share == 0.0:
            raise ValueError("sampling_probability must be above 0, or nobody takes part")
        _set(self, "sampling_probability", share)

    def count(self, steps: int) -> int:
        """Return the most steps that one example takes part in, of so many."""
        return -(-steps // self.groups)

    def separation(self, steps: int) -> int:
        """Return the least distance between two of them, at most the number of steps."""
        return max(1, min(self.groups, steps))

    def __str__(self) -> str:
        return (
            f"Poisson sampling with probability {self.sampling_probability!r} from {self.groups} "
            "groups in turn"
        )


@dataclass(frozen=True, slots=True)
class BallsInBins:
    """One bin for each example, drawn at random once: bin i holds steps i, i + bins, i + 2 bins.

    The bin stays the same in all epochs (arXiv 2410.06266).

    Attributes
    ----------
    bins : int
        Batches in an epoch, at least 1.
    epochs : int
        At least 1.
    """

    name: ClassVar[str] = "balls_in_bins"

    bins: int
    epochs: int = 1

    def __post_init__(self) -> None:
        _set(self, "bins", whole_count(self.bins, "bins", 1))
        _set(self, "epochs", whole_count(self.epochs, "epochs", 1))

    def count(self, steps: int) -> int:
        """Return the most steps that one example takes part in, of so many."""
        return min(self.epochs, -(-steps // self.bins))

    def separation(self, steps: int) -> int:
        """Return the least distance between two of them, at most the number of steps."""
        return max(1, min(self.bins, steps))

    def __str__(self) -> str:
        return f"one random batch of {self.bins}, the same in each of {self.epochs} epochs"


Participation: TypeAlias = (
    SingleParticipation | MinSeparation | FixedEpochOrder | CyclicPoisson | BallsInBins
)


def checked(participation: object) -> Participation:
    """Return a participation, or refuse what is none.

    Raises
    ------
    ValueError
        If it is none of this module's.
    """
    if not isinstance(participation, Participation):
        raise ValueError(
            "participation must be one of mechanisms.participation, such as MinSeparation(10), "
            f"got {short(participation)}"
        )
    return participation


_BY_NAME: dict[str, Any] = {
    kind.name: kind
    for kind in (SingleParticipation, MinSeparation, FixedEpochOrder, CyclicPoisson, BallsInBins)
}


def federated(
    population: int,
    report_goal: int,
    rounds: int,
    min_rounds_between: int | None = None,
) -> MinSeparation:
    """Participation of one device in federated learning, whose server enforces a waiting time.

    Parameters
    ----------
    population : int
        Devices that may take part, at least `report_goal`.
    report_goal : int
        Devices in one round.
    rounds : int
        Rounds of the run.
    min_rounds_between : int, optional
        Least distance between two rounds of one device: with 1, it may be in consecutive rounds.
        Without it, the longest that the population allows: ``population // report_goal``.

    Returns
    -------
    MinSeparation
        With as many participations as fit into the rounds.

    Raises
    ------
    ValueError
        If so few devices cannot keep so long a waiting time: the run would stall.
    """
    devices = whole_count(population, "population", 1)
    goal = whole_count(report_goal, "report_goal", 1)
    length = whole_count(rounds, "rounds", 1)
    if goal > devices:
        raise ValueError(f"report_goal must be at most the population of {devices}, got {goal}")
    longest = devices // goal
    if min_rounds_between is None:
        distance = longest
    else:
        distance = whole_count(min_rounds_between, "min_rounds_between", 1)
    if distance > longest and distance < length:
        raise ValueError(
            f"min_rounds_between must be at most {longest}, got {distance}: {devices} devices, "
            f"{goal} a round, are used up by then"
        )
    return MinSeparation(distance, -(-length // distance))


def to_dict(participation: Participation) -> dict[str, Any]:
    """Return a participation as plain JSON values."""
    values = {field.name: getattr(participation, field.name) for field in fields(participation)}
    return {"participation": participation.name, **values}


def from_dict(values: object) -> Participation:
    """Read a participation from plain JSON values.

    Raises
    ------
    ValueError
        If they are not those of a participation.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a participation must be a mapping, got {short(values)}")
    given = dict(values)
    name = given.pop("participation", None)
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"participation must be one of {', '.join(_BY_NAME)}, got {short(name)}")
    known = [field.name for field in fields(kind)]
    unknown = set(given).difference(known)
    if unknown:
        raise ValueError(f"a participation of kind {name} has no {short(min(map(str, unknown)))}")
    try:
        found: Participation = kind(**given)
    except TypeError:
        raise ValueError(f"a participation of kind {name} needs {', '.join(known)}") from None
    return found


def _times(count: int) -> str:
    return "one participation" if count == 1 else f"{count} participations"


def _set(instance: object, name: str, value: float | int) -> None:
    """Store a checked value: the only thing that ever sets anything."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite")
    object.__setattr__(instance, name, value)
