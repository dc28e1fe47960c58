"""The questions about correlated noise: which strategy to use, and what one example can move.

Read by the environments of all contenders, so that it needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from benchmarks.contenders.base import Contender

Family: TypeAlias = Literal["dense", "banded", "banded Toeplitz", "BLT"]
Objective: TypeAlias = Literal["mean", "max"]


@dataclass(frozen=True)
class Design:
    """Find the strategy of least error for prefix sums.

    Attributes
    ----------
    family : str
        What C may be.  Strategies are answered as lists of numbers: "dense" as the lower triangle
        of C, row after row; "banded" as C[t + i, t], band i = 0, 1, ... of column t after column;
        "banded Toeplitz" as the start of the first column; "BLT" as decays, then weights.
    steps : int
    size : int
        Bands, or buffers; for "dense" the bands that C may have, 0 for all.
    objective : {"mean", "max"}
        Which squared error over steps counts.
    separation, participations : int
        Of one example: steps apart, at least, and at most so often.
    """

    family: Family
    steps: int
    size: int
    objective: Objective = "mean"
    separation: int = 1
    participations: int = 1


@dataclass(frozen=True)
class DesignTask:
    """One design, and what is asked of it.

    Attributes
    ----------
    name : str
    design : Design
    known : float, optional
        The error of the best strategy on record, to its last digit.
    most_seconds : float, optional
        What this library may take.
    within : float, optional
        How far above the lower bound its error may be, as a fraction.
    stop_after : float, optional
        CPU time after which a peer is told to stop where it is, if its optimizer can be told.
    limit : int
        CPU time after which a contender is ended without an answer.
    compared : bool
        Whether peers are asked.
    """

    # What took less CPU time than this is asked a second time, so that compiling can be told apart.
    again_within: ClassVar[float] = 20.0

    name: str
    design: Design
    known: float | None = None
    most_seconds: float | None = None
    within: float | None = None
    stop_after: float | None = None
    limit: int = 60
    compared: bool = True

    @property
    def in_median(self) -> bool:
        """Whether it is one of those whose ratios of times make the median."""
        return self.compared and self.design.family in ("banded Toeplitz", "BLT")

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        return contender.strategy(self.design, self.stop_after)


@dataclass(frozen=True)
class TreeTask:
    """The squared sensitivity of a binary tree; the steps of one example are to be found."""

    again_within: ClassVar[float] = 20.0

    name: str
    steps: int
    separation: int
    participations: int
    most_seconds: float
    known: float | None = None
    limit: int = 60

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        return [contender.tree_sensitivity(self.steps, self.separation, self.participations)]


MatrixTask: TypeAlias = DesignTask | TreeTask


def _toeplitz(
    steps: int, bands: int, known: float | None, most: float | None = None, limit: int = 60
) -> DesignTask:
    name = f"Toeplitz, {steps:,} steps, {bands} bands"
    return DesignTask(name, Design("banded Toeplitz", steps, bands), known, most, limit=limit)


def _blt(
    steps: int, buffers: int, known: float | None, most: float | None = None, limit: int = 60
) -> DesignTask:
    name = f"BLT, {steps:,} steps, {buffers} buffers, largest"
    return DesignTask(name, Design("BLT", steps, buffers, "max"), known, most, limit=limit)


def _federated_blt(buffers: int, objective: Objective, known: float | None) -> DesignTask:
    words = "largest" if objective == "max" else "mean"
    return DesignTask(
        f"BLT, 2,052 steps, 6 x 342, {buffers} buffers, {words}",
        Design("BLT", 2052, buffers, objective, separation=342, participations=6),
        known,
        0.3 if buffers == 4 else None,
    )


DENSE_TASKS = (
    DesignTask("dense, 512 steps", Design("dense", 512, 0), 2.739385, within=1e-4, stop_after=25.0),
    DesignTask(
        "dense, 512 steps, 4 x 128, 128 bands",
        Design("dense", 512, 128, separation=128, participations=4),
        5.8521,
        stop_after=25.0,
    ),
    DesignTask("banded, 512 steps, 32 bands", Design("banded", 512, 32), 3.7898, stop_after=25.0),
    DesignTask("banded, 2,048 steps, 8 bands", Design("banded", 2048, 8), 12.184, stop_after=25.0),
)
TOEPLITZ_TASKS = (
    _toeplitz(1_000, 16, 6.27816),
    _toeplitz(1_000, 32, 4.91072),
    _toeplitz(1_000, 64, 4.03487),
    DesignTask(
        "Toeplitz, 2,052 steps, 6 x 342, 342 bands",
        Design("banded Toeplitz", 2052, 342, separation=342, participations=6),
        8.80410,
    ),
    _toeplitz(10_000, 16, 18.1787),
    _toeplitz(10_000, 64, 9.85266),
    _toeplitz(100_000, 16, 56.2508),
    _toeplitz(100_000, 64, 28.73595, 2.0, limit=100),
    _toeplitz(1_000_000, 32, None, 20.0, limit=30),
)
BLT_TASKS = (
    _federated_blt(2, "mean", 9.18275),
    _federated_blt(3, "mean", 9.17130),
    _federated_blt(4, "mean", None),
    _federated_blt(2, "max", 10.80627),
    _federated_blt(3, "max", 10.75138),
    _federated_blt(4, "max", 10.73409),
    _blt(100_000, 2, 5.29675),
    _blt(100_000, 3, 4.85347),
    _blt(100_000, 4, 4.75768),
    _blt(100_000, 5, 4.73641),
    _blt(1_000_000, 4, None, 0.3),
    _blt(1_000_000, 5, 5.48648),
    _blt(1_000_000_000, 5, None, 0.3, limit=30),
)
TREE_TASKS = (
    TreeTask("tree, 2,000 steps, 6 x 314", 2_000, 314, 6, 1.0, known=79.0),
    TreeTask("tree, 100,000 steps, 6 x 1", 100_000, 1, 6, 60.0),
    TreeTask("tree, 100,000 steps, 6 x 342", 100_000, 342, 6, 60.0),
    TreeTask("tree, 100,000 steps, 6 x 16,666", 100_000, 16_666, 6, 60.0),
)
DESIGN_TASKS = (*DENSE_TASKS, *TOEPLITZ_TASKS, *BLT_TASKS)
MATRIX_TASKS: Sequence[MatrixTask] = (*DESIGN_TASKS, *TREE_TASKS)
