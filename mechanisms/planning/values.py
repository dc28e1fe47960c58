"""A plan as a value: what was given, what follows from it, and nothing that changes."""

from typing import TYPE_CHECKING, Any, NoReturn

from mechanisms.planning.fields import DEFAULTS, FIELDS, PlanFields
from mechanisms.planning.schedule import Schedule, schedule

if TYPE_CHECKING:
    from mechanisms.strategies import Strategy

__all__ = ["PlanValues"]


class PlanValues:
    """The fields of a plan to read, whichever of them were given; see `mechanisms.plan.Plan`."""

    def _keep(self, fields: PlanFields, stated: frozenset[str]) -> None:
        """Store what was given: the only thing that ever sets anything."""
        values = {name: getattr(fields, name) for name in FIELDS}
        kept = frozenset(name for name in stated if getattr(fields, name) is not None)
        self.__dict__.update(_fields=fields, _stated=kept, _schedule=schedule(values))

    @property
    def fields(self) -> PlanFields:
        """What is stored: of fields that say the same in two ways, the one that was given."""
        fields: PlanFields = self.__dict__["_fields"]
        return fields

    @property
    def stated(self) -> frozenset[str]:
        """The fields that somebody gave; the others hold defaults or nothing."""
        stated: frozenset[str] = self.__dict__["_stated"]
        return stated

    @property
    def defaulted(self) -> tuple[str, ...]:
        """The fields whose value is a default that nobody stated."""
        return tuple(name for name in DEFAULTS if name not in self.stated)

    @property
    def missing(self) -> tuple[str, ...]:
        """What an epsilon still needs, of noise_multiplier, batch_size, steps and delta."""
        follows = self._schedule
        share = follows.batch_size is None and follows.sampling_probability is None
        return tuple(
            name
            for name, missing in (
                ("noise_multiplier", self.noise_multiplier is None),
                ("batch_size", share),
                ("steps", self.fields.steps is None and self.fields.epochs is None),
                ("delta", self.delta is None),
            )
            if missing
        )

    @property
    def _schedule(self) -> Schedule:
        follows: Schedule = self.__dict__["_schedule"]
        return follows

    @property
    def dataset_size(self) -> int | None:
        """Number of examples in the data set."""
        return self.fields.dataset_size

    @property
    def batch_size(self) -> int | float | None:
        """Expected number of examples in one step."""
        return self._schedule.batch_size

    @property
    def sampling_probability(self) -> float | None:
        """Probability that one example takes part in one step; None without sampling."""
        return self._schedule.sampling_probability

    @property
    def epochs(self) -> int | float | None:
        """How often one example is expected to take part."""
        return self._schedule.epochs

    @property
    def steps(self) -> int | None:
        """Number of noisy steps."""
        return self._schedule.steps

    @property
    def max_participations(self) -> int | None:
        """The largest number of steps with one and the same example; None where unbounded."""
        return self._schedule.participations

    @property
    def noise_multiplier(self) -> float | None:
        """Standard deviation of the noise on the sum, in units of `clip_norm`."""
        return self.fields.noise_multiplier

    @property
    def clip_norm(self) -> float:
        """Largest norm of one example's gradient."""
        return self.fields.clip_norm

    @property
    def delta(self) -> float | None:
        """The delta at which epsilon is stated."""
        return self.fields.delta

    @property
    def sampler(self) -> str:
        """How batches are drawn."""
        return self.fields.sampler

    @property
    def max_batch_size(self) -> int | None:
        """The cap on the batch; None, for none."""
        return self.fields.max_batch_size

    @property
    def min_separation(self) -> int | None:
        """The least distance between two steps of one example; None where none is promised."""
        return self.fields.min_separation

    @property
    def groups(self) -> int | None:
        """How many groups of examples take turns; None without groups."""
        return self.fields.groups

    @property
    def neighboring_relation(self) -> str:
        """Which data sets are neighbours."""
        return self.fields.neighboring_relation

    @property
    def unit(self) -> str:
        """What one row of the data set is."""
        return self.fields.unit

    @property
    def group_size(self) -> int:
        """How many examples are protected together."""
        return self.fields.group_size

    @property
    def release(self) -> str:
        """What leaves the run."""
        return self.fields.release

    @property
    def mechanism(self) -> "str | Strategy":
        """How noise is correlated over steps: "identity", for not at all, or a strategy."""
        return self.fields.mechanism

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlanValues):
            return NotImplemented
        return self.fields == other.fields and self.stated == other.stated

    def __hash__(self) -> int:
        return hash((self.fields, self.stated))

    def __repr__(self) -> str:
        given = (f"{name}={getattr(self.fields, name)!r}" for name in FIELDS if name in self.stated)
        return f"{type(self).__name__}({', '.join(given)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A Plan does not change: use plan.replace({name}=...) for a new one.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"A Plan does not change: use plan.replace({name}=None) for a new one."
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the cached loss behind: it is found again from the fields."""
        return {name: self.__dict__[name] for name in ("_fields", "_stated", "_schedule")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
