"""Designs: what a strategy is called before it has numbers, such as "blt:4" or "tree:online".

A design names a kind and, after a colon, its size. Made for a run, it becomes a strategy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from accountant.parameters import short, whole_count
from mechanisms.optimization import Objective, checked_objective
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    Participation,
    SingleParticipation,
    checked,
)
from mechanisms.strategies import (
    BLT,
    Banded,
    BandedToeplitz,
    BinaryTree,
    Dense,
    Identity,
    InverseBandedToeplitz,
    PrefixTree,
    SquareRoot,
    Strategy,
)
from mechanisms.workload_words import parse_workload
from mechanisms.workloads import Workload, prefix_sum

__all__ = ["DESIGNS", "Design", "Objective", "Run", "parse", "parse_workload", "suitable"]

_PREFIX_SUMS: Final = ((1.0, 1.0),)

# Beyond these a design takes minutes, or memory that no run has.
_LONGEST_DENSE: Final = 1024
_LONGEST_BANDED: Final = 2048
_LONGEST_ROOT: Final = 10_000  # beyond, nobody keeps as many arrays as steps
_LONGEST_VECTOR: Final = 10**7
_MOST_BUFFERS: Final = 10


@dataclass(frozen=True, slots=True)
class Run:
    """What a design is made for.

    Attributes
    ----------
    steps : int
    participation : Participation
    workload : Workload, optional
        What is estimated; without it, prefix sums.
    objective : {"mean", "max"}
        Whether the mean squared error over steps counts, or the largest.
    """

    steps: int
    participation: Participation = SingleParticipation()  # noqa: RUF009 (immutable)
    workload: Workload | None = None
    objective: Objective = "mean"

    def __post_init__(self) -> None:
        whole_count(self.steps, "steps", 1)
        checked(self.participation)
        if not (self.workload is None or isinstance(self.workload, Workload)):
            raise ValueError(
                f"workload must be one of mechanisms.workloads, got {short(self.workload)}"
            )
        checked_objective(self.objective)
        if self.workload is not None and self.workload.steps != self.steps:
            raise ValueError(
                f"the workload has {self.workload.steps} steps and the run {self.steps}: make both "
                "for the same run"
            )

    @property
    def estimated(self) -> Workload:
        """What is estimated: the workload, or prefix sums."""
        return prefix_sum(self.steps) if self.workload is None else self.workload

    @property
    def of_prefix_sums(self) -> bool:
        """Whether prefix sums are estimated, whichever way that was said."""
        return self.workload is None or self.workload.poles == _PREFIX_SUMS


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of design: its words, whether it has a size, and how it is made."""

    title: str
    sized: str | None
    make: Callable[[Run, int], Strategy]
    memory: Callable[[Run, int], int]


def _toeplitz(run: Run, size: int) -> Strategy:
    return BandedToeplitz.optimize(
        steps=run.steps,
        bands=size,
        participation=run.participation,
        objective=run.objective,
        workload=run.workload,
    )


def _banded(run: Run, size: int) -> Strategy:
    return Banded.optimize(
        steps=run.steps,
        bands=size,
        participation=run.participation,
        objective=run.objective,
        workload=run.workload,
    )


def _blt(run: Run, size: int) -> Strategy:
    return BLT.optimize(
        steps=run.steps,
        buffers=size,
        participation=run.participation,
        objective=run.objective,
        workload=run.workload,
    )


def _dense(run: Run, size: int) -> Strategy:
    return Dense.optimize(
        steps=run.steps,
        participation=run.participation,
        objective=run.objective,
        workload=run.workload,
    )


def _depth(run: Run, size: int) -> int:
    return run.steps.bit_length()


DESIGNS: Final[dict[str, Kind]] = {
    "identity": Kind(
        "independent noise", None, lambda run, size: Identity(run.steps), lambda run, size: 0
    ),
    "tree": Kind("binary tree", None, lambda run, size: BinaryTree(run.steps), _depth),
    "tree-online": Kind(
        "binary tree, online estimates",
        None,
        lambda run, size: BinaryTree(run.steps, estimator="online"),
        _depth,
    ),
    "prefix-tree": Kind(
        "binary tree, prefix sums only",
        None,
        lambda run, size: PrefixTree(run.steps, estimator="online"),
        _depth,
    ),
    "square-root": Kind(
        "square root",
        None,
        lambda run, size: SquareRoot(run.steps),
        lambda run, size: run.steps - 1,
    ),
    "bsr": Kind(
        "banded square root",
        "bands",
        lambda run, size: BandedToeplitz.square_root(run.steps, size),
        lambda run, size: size - 1,
    ),
    "bisr": Kind(
        "banded inverse square root",
        "bands",
        lambda run, size: InverseBandedToeplitz.square_root(run.steps, size),
        lambda run, size: size - 1,
    ),
    "toeplitz": Kind("banded Toeplitz", "bands", _toeplitz, lambda run, size: size - 1),
    "blt": Kind("BLT", "buffers", _blt, lambda run, size: size),
    "banded": Kind("banded", "bands", _banded, lambda run, size: size - 1),
    "dense": Kind("dense", None, _dense, lambda run, size: 0),
}


@dataclass(frozen=True, slots=True)
class Design:
    """A kind of strategy and its size.

    Attributes
    ----------
    kind : str
        One of `DESIGNS`.
    size : int
        Bands or buffers; 0 where the kind has no size.
    """

    kind: str
    size: int = 0

    def __post_init__(self) -> None:
        known = DESIGNS.get(self.kind) if isinstance(self.kind, str) else None
        if known is None:
            names = ", ".join(DESIGNS)
            raise ValueError(f"a design must be one of {names}, got {short(self.kind)}")
        if known.sized is None and self.size:
            raise ValueError(f"{self.kind} has no size, got {short(self.size)}")
        if known.sized is not None:
            whole_count(self.size, known.sized, 1)

    @property
    def title(self) -> str:
        """What it is called, such as "BLT, 4 buffers"."""
        known = DESIGNS[self.kind]
        if known.sized is None:
            return known.title
        unit = known.sized if self.size > 1 else known.sized.removesuffix("s")
        return f"{known.title}, {self.size} {unit}"

    def __str__(self) -> str:
        return f"{self.kind}:{self.size}" if self.size else self.kind

    def memory(self, run: Run) -> int:
        """Return the arrays of the model's size that its noise will keep between steps."""
        return DESIGNS[self.kind].memory(run, self.size)

    def make(self, run: Run) -> Strategy:
        """Return the strategy for a run.

        Raises
        ------
        ValueError
            If it does not fit the run, or takes too long to make.
        """
        longest = {
            "dense": _LONGEST_DENSE,
            "banded": _LONGEST_BANDED,
            "square-root": _LONGEST_VECTOR,
            "toeplitz": _LONGEST_VECTOR,
            "bsr": _LONGEST_VECTOR,
            "bisr": _LONGEST_VECTOR,
        }.get(self.kind, run.steps)
        if run.steps > longest:
            raise ValueError(
                f"{self.title} is designed for at most {longest} steps, not for {run.steps}; BLT "
                "is for any number"
            )
        if self.kind == "blt" and self.size > _MOST_BUFFERS:
            raise ValueError(
                f"a BLT is designed with at most {_MOST_BUFFERS} buffers: more gain nothing"
            )
        if self.kind in ("bsr", "bisr", "toeplitz", "banded") and self.size > run.steps:
            raise ValueError(f"{self.title} are more than the {run.steps} steps")
        return DESIGNS[self.kind].make(run, self.size)


def parse(text: str) -> Design:
    """Read a design from its name, such as "blt:4".

    Raises
    ------
    ValueError
        If it is not the name of one.
    """
    if not isinstance(text, str):
        raise ValueError(f"a design must be a name such as tree or blt:4, got {short(text)}")
    kind, mark, size = text.strip().partition(":")
    known = DESIGNS.get(kind)
    if known is not None and known.sized is not None and not size.isdecimal():
        raise ValueError(f"{kind} needs its {known.sized}, as in {kind}:4, got {short(text)}")
    if mark and not (size.isdecimal() and len(size) < 10):
        raise ValueError(f"a design must read like tree or blt:4, got {short(text)}")
    return Design(kind, int(size) if mark else 0)


def suitable(run: Run, memory: int | None = None) -> tuple[Design, ...]:
    """Return the designs that are worth a look for a run, the simplest first.

    Parameters
    ----------
    run : Run
    memory : int, optional
        Arrays of the model's size that noise may keep between steps; without it, any number.
    """
    steps, participation = run.steps, run.participation
    separation = participation.separation(steps)
    # More bands than the separation overlap, and gain little: all that do not are often the best.
    widest = min(steps, 512, separation)
    powers = sorted({2**i for i in range(1, 10) if 2**i <= widest} | {widest} - {1})
    found = [Design("identity")]
    cyclic = isinstance(participation, CyclicPoisson)
    if isinstance(participation, BallsInBins):
        # Pricing one takes seconds.
        powers = [p for p in powers if p in (8, 32, 128)]
    if not cyclic and not isinstance(participation, BallsInBins):
        found += [Design("tree"), Design("tree-online"), Design("prefix-tree")]
        if run.of_prefix_sums and steps <= _LONGEST_ROOT:
            found.append(Design("square-root"))
    if not cyclic:
        buffers = (2, 3) if isinstance(participation, BallsInBins) else range(1, 6)
        found += [Design("blt", d) for d in buffers]
    if steps <= _LONGEST_VECTOR:
        found += [Design("toeplitz", p) for p in powers]
        if not cyclic and run.of_prefix_sums:
            found += [Design("bisr", p) for p in powers]
    if steps <= _LONGEST_DENSE // 2 and not isinstance(participation, BallsInBins):
        found += [Design("banded", p) for p in powers if p <= min(separation, 32)]
        if not cyclic:
            found.append(Design("dense"))
    limit = math.inf if memory is None else whole_count(memory, "memory")
    return tuple(design for design in found if design.memory(run) <= limit)
