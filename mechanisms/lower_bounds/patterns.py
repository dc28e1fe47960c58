"""Patterns of participation that the dual problem puts weights on.

Any choice gives a valid bound.  These are arithmetic progressions, as they come closest to covering
every step alike, and those with one wider gap, which is what sets a minimum separation apart from a
fixed order: without them the bound is up to two percent lower.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from mechanisms.lower_bounds.certificate import Patterns
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    Participation,
    SingleParticipation,
)

__all__ = ["Family", "all_patterns", "families", "spacing_of"]

# Widths of the gap, as shares of the spacing, from the most useful on.
_SHARES: Final = (0.25, 0.0625, 0.125, 0.5, 0.03125, 0.375, 0.1875, 0.75)


@dataclass(frozen=True)
class Family:
    """Patterns ``i, i + spacing, ...`` for one i after another, with one gap that is wider.

    Attributes
    ----------
    steps, spacing : int
    members : int
        Steps in one pattern, at most.
    boundary : int
        The gap that is wider is the one before this member; 0 without one.
    share : float
        By how much, as a share of the spacing.
    """

    steps: int
    spacing: int
    members: int
    boundary: int = 0
    share: float = 0.0

    @property
    def patterns(self) -> Patterns:
        """Shape (starts, members); -1 where a pattern has no such member."""
        member = np.arange(self.members)
        wider = max(1, round(self.share * self.spacing)) * (member >= self.boundary)
        found = np.arange(self.spacing)[:, None] + self.spacing * member
        if self.boundary:
            found = found + wider
            found = found[found[:, -1] < self.steps]
        return np.where(found < self.steps, found, -1)

    def of(self, steps: int, spacing: int) -> "Family":
        """Return the same family for another number of steps."""
        return Family(steps, spacing, self.members, self.boundary, self.share)


def spacing_of(participation: Participation, steps: int) -> int:
    """Return a number such that steps that are equal modulo it are a pattern.

    The smallest such number for one participation and for a minimum separation: with at most k
    participations, ``ceil(steps / k)`` is one.
    """
    separation, count = participation.separation(steps), participation.count(steps)
    if count <= 1 or isinstance(participation, SingleParticipation | CyclicPoisson):
        return steps
    if isinstance(participation, FixedEpochOrder | BallsInBins):
        epochs = -(-steps // separation)
        return min(steps, separation * -(-epochs // count))
    return max(separation, -(-steps // count))


def families(participation: Participation, steps: int, spacing: int, most: int) -> list[Family]:
    """Return at most so many families, the arithmetic progressions first."""
    members = -(-steps // spacing)
    found = [Family(steps, spacing, members)]
    if members > 1 and isinstance(participation, MinSeparation):
        wider = [
            Family(steps, spacing, members, boundary, share)
            for share in _SHARES
            if share * spacing >= 1.0
            for boundary in range(1, members)
        ]
        found += [family for family in wider[: most - 1] if len(family.patterns)]
    return found


def all_patterns(participation: Participation, steps: int, most: int) -> Patterns | None:
    """All patterns that no other contains, for a minimum separation; None if they are too many."""
    if not isinstance(participation, MinSeparation) or participation.count(steps) <= 1:
        return None
    separation, count = participation.min_separation, participation.count(steps)
    found: list[tuple[int, ...]] = []
    starts = range(steps if count * separation < steps else min(separation, steps))
    open_ends: list[tuple[int, ...]] = [(first,) for first in starts]
    while open_ends:
        pattern = open_ends.pop()
        later = range(pattern[-1] + separation, steps)
        if len(pattern) == count or not later:
            found.append(pattern)
        else:
            open_ends += [(*pattern, step) for step in later]
        if len(found) + len(open_ends) > most:
            return None
    longest = max(map(len, found))
    return np.array([p + (-1,) * (longest - len(p)) for p in sorted(found)], dtype=np.intp)
