"""What every strategy offers: what it costs, how well it does, and its noise.

A strategy is a matrix C that releases ``C x + Z`` with independent Gaussian Z; what a run sees is
the noise D Z on its steps, with ``D C = 1``, and ``A D Z`` on what it estimates (arXiv 2202.08312).
"""

import base64
import binascii
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

from accountant.parameters import short, whole_count
from mechanisms.participation import Participation, SingleParticipation
from mechanisms.sensitivity import Sensitivity
from mechanisms.workloads import Workload, prefix_sum, refuse_large_matrix

if TYPE_CHECKING:
    from mechanisms.noise import NoiseStream
    from mechanisms.noise.filters import NoiseFilter
    from mechanisms.optimization import Objective

__all__ = ["Array", "Strategy", "array_from_json", "array_to_json"]

Array = npt.NDArray[np.float64]

LARGEST_FILE: Final = 512 * 2**20  # characters: a dense strategy of 5,000 steps fits
_SHORT: Final = 64  # numbers that are written one by one

ONE_PARTICIPATION: Final = SingleParticipation()


class Strategy(ABC):
    """How noise is correlated over the steps of a run.

    Immutable; equal to another strategy of the same kind and content.

    Attributes
    ----------
    name : str
        What it is called in files.
    steps : int
        Steps of the run.
    """

    name: ClassVar[str]
    steps: int
    _kinds: ClassVar[dict[str, type["Strategy"]]] = {}

    def __init_subclass__(cls, **extra: Any) -> None:
        super().__init_subclass__(**extra)
        if "name" in vars(cls):
            Strategy._kinds[cls.name] = cls

    # -- the matrices ------------------------------------------------------------------------------

    @abstractmethod
    def matrix(self) -> Array:
        """Return C, of shape (rows, steps).

        Raises
        ------
        ValueError
            If there are too many steps to form it.
        """

    def decoder(self) -> Array:
        """Return D, of shape (steps, rows): the noise on the steps is D Z.

        Raises
        ------
        ValueError
            If there are too many steps to form it.
        """
        matrix = self.matrix()
        return np.asarray(solve_triangular(matrix, np.eye(len(matrix)), lower=True))

    # -- what it costs, and how well it does -------------------------------------------------------

    @abstractmethod
    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return how far one example can move C x, and whether that is exact.

        Raises
        ------
        UnsupportedParticipationError
            If nothing is proved for this participation.
        """

    def sensitivity(self, participation: Participation) -> float:
        """Return how far one example can move C x, never too little; see `sensitivity_bound`."""
        return self.sensitivity_bound(participation).value

    def squared_errors(self, workload: Workload) -> Array:
        """Return the variance of the noise on every row of A x, for Z of variance 1.

        Parameters
        ----------
        workload : Workload
            A, of as many steps as the strategy.

        Returns
        -------
        array of shape (steps,)
        """
        self._check_workload(workload)
        found: Array = np.square(workload.apply(self.decoder())).sum(axis=1)
        return found

    def mean_squared_error(self, workload: Workload) -> float:
        """Return the mean of `squared_errors`."""
        errors = self.squared_errors(workload)
        return math.fsum(errors) / len(errors)

    def max_squared_error(self, workload: Workload) -> float:
        """Return the largest of `squared_errors`."""
        return float(np.max(self.squared_errors(workload)))

    def rmse(
        self, workload: Workload | None = None, participation: Participation = ONE_PARTICIPATION
    ) -> float:
        """Root mean squared error over steps, at noise multiplier 1.

        ``sensitivity * sqrt(mean of the squared errors)``: comparable between strategies, because
        it does not change when C is multiplied by a number.

        Parameters
        ----------
        workload : Workload, optional
            What is estimated; without it, prefix sums.
        participation : Participation
        """
        return self.sensitivity(participation) * math.sqrt(
            self.mean_squared_error(self._workload(workload))
        )

    def max_error(
        self, workload: Workload | None = None, participation: Participation = ONE_PARTICIPATION
    ) -> float:
        """Return the largest standard error of any step, at noise multiplier 1; see `rmse`."""
        return self.sensitivity(participation) * math.sqrt(
            self.max_squared_error(self._workload(workload))
        )

    def gap(
        self,
        objective: "Objective" = "mean",
        workload: Workload | None = None,
        participation: Participation = ONE_PARTICIPATION,
    ) -> float | None:
        """Return by how many percent the error may be above the best that any mechanism reaches.

        Of `rmse`, or of `max_error` for the objective "max", above a certified lower bound on every
        factorization of the workload (`mechanisms.lower_bounds`); None where none is known.
        """
        from mechanisms.lower_bounds import lower_bound

        found = lower_bound(self._workload(workload), participation, objective)
        if found is None:
            return None
        reached = self.rmse if objective == "mean" else self.max_error
        return found.gap(reached(workload, participation))

    # -- its noise ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def memory(self) -> int:
        """Arrays of the model's size that the noise keeps from one step to the next."""

    @abstractmethod
    def noise_filter(self) -> "NoiseFilter":
        """Return what turns independent noise into this strategy's, row by row.

        Raises
        ------
        ValueError
            If its noise cannot be produced step by step.
        """

    def noise(self, dimension: int, *, rng: Any = None, **options: Any) -> "NoiseStream":
        """Return the rows of D Z, one for each step, Z of variance 1.

        Not multiplied by the sensitivity: a run multiplies by ``plan.noise_stddev``, and adds a row
        to the sum of clipped gradients, before it divides by the batch size.

        Parameters
        ----------
        dimension : int
            Numbers in one row.
        rng, options
            As `mechanisms.noise.NoiseStream` takes them.
        """
        from mechanisms.noise import NoiseStream

        return NoiseStream(self.noise_filter(), dimension, steps=self.steps, rng=rng, **options)

    # -- as data -----------------------------------------------------------------------------------

    @abstractmethod
    def _values(self) -> dict[str, Any]:
        """Return what, besides the steps, tells it from others of its kind, as JSON values."""

    @classmethod
    @abstractmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        """Build it from what `_values` gave; ValueError where that does not hold."""

    def to_dict(self) -> dict[str, Any]:
        """Return the strategy as plain JSON values, every number exact."""
        return {"strategy": self.name, "steps": self.steps, **self._values()}

    def to_json(self) -> str:
        """Return the strategy as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, values: object) -> "Strategy":
        """Build a strategy of any kind from `to_dict`'s values.

        Raises
        ------
        ValueError
            If they are not those of a strategy.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a strategy must be a mapping, got {short(values)}")
        given = dict(values)
        name = given.pop("strategy", None)
        kind = Strategy._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            known = ", ".join(sorted(Strategy._kinds))
            raise ValueError(f"strategy must be one of {known}, got {short(name)}")
        if not issubclass(kind, cls):
            raise ValueError(f"this is a strategy of kind {name}, not {cls.name}")
        steps = whole_count(given.pop("steps", None), "steps", 1)
        try:
            return kind._from_values(steps, given)
        except (KeyError, TypeError) as error:
            what = short(str(error.args[0]))
            raise ValueError(
                f"this is no strategy of kind {name}: {what} is missing or wrong"
            ) from None

    @classmethod
    def from_json(cls, text: str | bytes) -> "Strategy":
        """Read a strategy of any kind from JSON, which may come from anywhere.

        Raises
        ------
        ValueError
            If the text is not a strategy.
        """
        if not isinstance(text, (str, bytes)):
            raise ValueError(f"a strategy must be text, got {short(text)}")
        if len(text) > LARGEST_FILE:
            raise ValueError(f"a strategy has at most {LARGEST_FILE} characters, got {len(text)}")
        try:
            values = json.loads(text, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"a strategy must be JSON: {short(str(error))}") from None
        return cls.from_dict(values)

    # -- as a value --------------------------------------------------------------------------------

    @abstractmethod
    def _content(self) -> Hashable:
        """Return what, besides the steps, tells it from others of its kind."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, Strategy):
            return NotImplemented
        return self.steps == other.steps and self._content() == other._content()

    def __hash__(self) -> int:
        return hash((self.name, self.steps, self._content()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A strategy does not change: make a new one.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("A strategy does not change: make a new one.")

    def _keep(self, **values: Any) -> None:
        """Store checked values: the only thing that ever sets anything."""
        self.__dict__.update(values)

    def _workload(self, workload: Workload | None) -> Workload:
        found = prefix_sum(self.steps) if workload is None else workload
        self._check_workload(found)
        return found

    def _check_workload(self, workload: Workload) -> None:
        if not isinstance(workload, Workload):
            raise ValueError(
                f"workload must be one of mechanisms.workloads, such as prefix_sum({self.steps}), "
                f"got {short(workload)}"
            )
        if workload.steps != self.steps:
            raise ValueError(
                f"the workload has {workload.steps} steps and the strategy {self.steps}: make both "
                "for the same run"
            )

    def _refuse_large_matrix(self) -> None:
        refuse_large_matrix(self.steps)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a mapping, refusing a key that occurs twice: readers differ on which one counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


# -- numbers in files ------------------------------------------------------------------------------


def array_to_json(values: Array) -> Any:
    """Return an array as plain JSON values: short ones as a list, long ones packed, both exact."""
    if values.ndim == 1 and len(values) <= _SHORT:
        return values.tolist()
    packed = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return {"shape": list(values.shape), "float64": base64.b64encode(packed).decode("ascii")}


def array_from_json(values: Any, name: str, dimensions: int = 1) -> Array:
    """Read an array from `array_to_json`'s values.

    Raises
    ------
    ValueError
        If they are not finite numbers in so many dimensions.
    """
    problem = ValueError(f"{name} must be an array of numbers in {dimensions} dimension(s)")
    if isinstance(values, dict):
        shape, packed = values.get("shape"), values.get("float64")
        if not isinstance(shape, list) or not isinstance(packed, str):
            raise problem
        if not all(type(length) is int and length > 0 for length in shape):
            raise problem
        try:
            content = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError):
            raise problem from None
        if len(content) != 8 * math.prod(shape):
            raise problem
        found = np.frombuffer(content, dtype="<f8").reshape(shape).astype(np.float64)
    elif isinstance(values, list) and all(type(entry) in (int, float) for entry in values):
        try:
            found = np.array(values, dtype=np.float64)
        except OverflowError:
            raise problem from None
    else:
        raise problem
    if found.ndim != dimensions or found.size == 0 or not np.all(np.isfinite(found)):
        raise problem
    return found
