"""The parts of a composed loss, each with a count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from accountant.losses.compound import DirectedPair
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.pair import DominatingPair
from accountant.losses.renyi import RenyiCurve
from accountant.parameters import LARGEST_COUNT, short


@dataclass
class Terms:
    """Parts of a composed loss, which together dominate what they stand for.

    ``gaussians`` holds noise multipliers, ``mixtures`` and ``laplaces`` (scales) what the contour
    inverts, ``pairs`` what only the lattice does, ``curves`` what is known by its RDP alone and
    ``clear`` probabilities with which everything is released in the clear.
    ``floor`` is None where the parts are exact; otherwise parts that are proved to be attained, or
    dominated by what is: they give the lower bounds.
    """

    gaussians: Counter[float] = field(default_factory=Counter)
    mixtures: Counter[GaussianMixture] = field(default_factory=Counter)
    laplaces: Counter[float] = field(default_factory=Counter)
    pairs: Counter[DominatingPair | DirectedPair] = field(default_factory=Counter)
    curves: Counter[RenyiCurve] = field(default_factory=Counter)
    clear: Counter[float] = field(default_factory=Counter)
    non_private: bool = False
    floor: Terms | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing was released."""
        return not (self.non_private or any(self._counters()))

    def add(self, other: Terms, count: int = 1) -> None:
        """Compose ``count`` copies of other terms into these."""
        if count == 0:
            return
        if self.floor is not None or other.floor is not None:
            floor = self.attained()
            floor.add(other.attained(), count)
            self.floor = floor
        for mine, theirs in zip(self._counters(), other._counters(), strict=True):
            for part, n in theirs.items():
                total = mine[part] + n * count
                if total > LARGEST_COUNT:
                    raise ValueError(
                        "one release may be repeated at most 2^53 times, so that the count is "
                        f"exact as a double; the counts of this composition give {short(total)}"
                    )
                mine[part] = total
        self.non_private = self.non_private or other.non_private

    def attained(self) -> Terms:
        """A copy of the floor, or of these terms where they are exact."""
        source = self if self.floor is None else self.floor
        return source.without_floor()

    def _counters(self) -> tuple[Counter, ...]:  # type: ignore[type-arg]
        return (
            self.gaussians,
            self.mixtures,
            self.laplaces,
            self.pairs,
            self.curves,
            self.clear,
        )

    def only_gaussians(self) -> bool:
        """Whether nothing but plain Gaussians was released."""
        return bool(self.gaussians) and not (any(self._counters()[1:]) or self.non_private)

    def only_pair(self) -> DominatingPair | DirectedPair | None:
        """The pair, where the terms are one release of one pair."""
        if sum(self.pairs.values()) != 1 or self.count() != 1 or self.non_private:
            return None
        return next(iter(self.pairs))

    def count(self) -> int:
        """How many releases these are; Gaussians count one each."""
        return sum(sum(counter.values()) for counter in self._counters())

    def without_floor(self) -> Terms:
        """A copy of the parts alone."""
        found = Terms(non_private=self.non_private)
        for mine, theirs in zip(found._counters(), self._counters(), strict=True):
            mine.update(theirs)
        return found
