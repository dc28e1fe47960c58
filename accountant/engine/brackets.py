"""Proved brackets, and the widths that are promised for them (docs/engine.md, section 7)."""

from __future__ import annotations

from dataclasses import dataclass

# Relative, in epsilon; in delta where epsilon is ill-conditioned; and for slow tails, those that
# need more nodes than SLOW_NODES, and for lattices.
WIDTH = 1e-9
WIDTH_OF_DELTA = 1e-12
SLOW_WIDTH = 1e-6
# The same of a delta query: relative, and below UNRESOLVED not at all.
DELTA_WIDTH = 1e-8
UNRESOLVED = 1e-290
SLOW_NODES = 512


@dataclass(frozen=True)
class Bracket:
    """Proved bounds, and whether they are as narrow as promised."""

    lower: float
    upper: float
    tight: bool


def narrow_delta(lower: float, upper: float, promised: float) -> bool:
    """Whether a bracket of delta is as narrow as promised."""
    return bool(upper - lower <= promised * upper or upper <= UNRESOLVED)


def meet(a: Bracket, b: Bracket, promised: float) -> Bracket:
    """What two brackets of delta prove together."""
    lower, upper = max(a.lower, b.lower), min(a.upper, b.upper)
    return Bracket(lower, upper, narrow_delta(lower, upper, promised))
