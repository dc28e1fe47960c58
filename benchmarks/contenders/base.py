"""What a contender can be asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.compositions import Composition
    from benchmarks.matrix_tasks import Design
    from benchmarks.tasks import Run


class NotOfferedError(Exception):
    """The contender's library has no such query, or no such mechanism."""


class Contender:
    """An accountant behind the questions of the benchmark.

    A run is priced under add/remove adjacency, a composition under its own.

    Every method goes all the way from the parameters to the answer, so that constructing an
    accountant is part of what is timed. A query that the library lacks stays as it is here.
    """

    # CPU time so far that went into compiling, where a contender keeps account of it.
    compile_seconds: float = 0.0

    def epsilon(self, run: Run, delta: float) -> float:
        """Epsilon to publish: the upper end, where the library gives two."""
        raise NotOfferedError("epsilon")

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        """Epsilon to publish of a composition of any mechanisms."""
        raise NotOfferedError("such compositions")

    def noise_multiplier(
        self, sampling_probability: float, steps: int, epsilon: float, delta: float
    ) -> float:
        """Noise multiplier of the library's own calibration, with its default tolerance."""
        raise NotOfferedError("calibration")

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        """Return delta at each epsilon."""
        raise NotOfferedError("delta at an epsilon")

    def fnrs(self, run: Run, fprs: Sequence[float]) -> list[float]:
        """Smallest type II error at each type I error."""
        raise NotOfferedError("trade-off curve")

    def strategy(self, design: Design, stop_after: float | None) -> list[float]:
        """Strategy of least error, as `Design` says; the best so far after so many seconds."""
        raise NotOfferedError("such strategies")

    def tree_sensitivity(self, steps: int, separation: int, participations: int) -> float:
        """Squared sensitivity of a binary tree over so many steps."""
        raise NotOfferedError("binary trees")


def floats(values: Iterable[Any]) -> list[float]:
    """Return plain floats, which JSON can carry, for an array of numbers."""
    return [float(value) for value in values]


def require_phases_only(run: Run) -> None:
    """Refuse runs with a Laplace or an unsampled Gaussian release."""
    if run.laplace_scale is not None or run.gaussian_noise_multiplier is not None:
        raise NotOfferedError("Laplace mechanism")
