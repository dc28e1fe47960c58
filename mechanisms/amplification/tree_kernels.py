"""Covariances of trees that lie above a Gram matrix, and the laws of their likelihood ratios.

Leaves of a tree are bins; the covariance of two of them is the level of their lowest common
ancestor, levels grow from the root to the leaves.  The least such matrix above a given one is found
by single linkage.  The mean of ``exp(X_i - G_ii/2)`` over its leaves is made of sums of independent
variables and of products with lognormal ones: docs/amplification.md, sections 4 and 5.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from mechanisms.amplification.ratio_laws import RatioLaw, lognormal

__all__ = ["Arrangement", "Tree", "arrangements", "least_tree", "neighbours"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

# Points of a law for one standard deviation of the widest lognormal variable, at most.
FINEST: Final = 256.0
ULP: Final = 2.0**-52
# A node: its level, and its children with how often each occurs; a leaf has none.
Node = tuple[int, tuple[tuple["Node", int], ...]]


@dataclass(frozen=True)
class Arrangement:
    """How bins are told apart: classes of blocks that take turns.

    Every bin belongs to one class; an adversary who is told the class of the record's bin sees no
    less.  The bins fall into ``blocks * classes`` runs of equal length, and run j belongs to class
    j mod ``classes``; of its bins every ``stride``-th is of one class.

    Attributes
    ----------
    blocks, classes, stride
        At least 1; ``blocks * classes`` is at most the number of bins.
    """

    blocks: int
    classes: int
    stride: int = 1

    def groups(self, bins: int) -> Iterator[list[Places]]:
        """The classes, those of one shape together, each as its bins in order."""
        runs = self.blocks * self.classes
        length, longer = divmod(bins, runs)
        edges = np.cumsum([0] + [length + (j < longer) for j in range(runs)])
        found: dict[tuple[int, ...], list[Places]] = {}
        for turn in range(self.classes):
            for offset in range(self.stride):
                parts = [
                    np.arange(edges[j] + offset, edges[j + 1], self.stride)
                    for j in range(turn, runs, self.classes)
                ]
                shape = tuple(len(part) for part in parts)
                if sum(shape):
                    found.setdefault(shape, []).append(np.concatenate(parts))
        yield from found.values()


@dataclass(frozen=True, eq=False)
class Tree:
    """A covariance that is constant on pairs of leaves with one lowest common ancestor.

    Attributes
    ----------
    levels
        Increasing.
    root
        Nodes name their level by its place in ``levels``.
    leaves
        How many.
    """

    levels: Floats
    root: Node
    leaves: int

    @property
    def mean(self) -> float:
        """The mean of all entries of the covariance."""
        return self._sum(self.root)[0] / self.leaves**2

    @property
    def flat(self) -> tuple[float, float] | None:
        """The entries on the diagonal and off it, where these are all alike."""
        level, children = self.root
        if len(children) != 1 or children[0][0][1]:
            return None
        return float(self.levels[children[0][0][0]]), float(self.levels[level])

    def mesh(self, variance: float, resolution: int) -> float:
        """A spacing that resolves the mean over the leaves, covariance over ``variance``."""
        width = math.sqrt(float(self.levels[-1]) / variance)
        mesh = max(math.sqrt(self.mean / variance) / resolution, width / FINEST)
        return math.ldexp(1.0, math.floor(math.log2(mesh)))

    def _sum(self, node: Node) -> tuple[float, int]:
        """Sum of the entries over the leaves below, and their number."""
        level, children = node
        if not children:
            return float(self.levels[level]), 1
        total, count, squares = 0.0, 0, 0
        for child, times in children:
            inside, size = self._sum(child)
            total += times * inside
            count += times * size
            squares += times * size * size
        return total + float(self.levels[level]) * (count * count - squares), count

    def law(self, variance: float, mesh: float) -> RatioLaw:
        """The law of the sum over leaves of ``exp(X_i - G_ii/2)``, G over ``variance``.

        Raises
        ------
        ValueError
            The grid would have too many points.
        """
        known: dict[tuple[Node, int], RatioLaw] = {}

        def below(node: Node, parent: int) -> RatioLaw:
            if (node, parent) in known:
                return known[node, parent]
            level, children = node
            floor = float(self.levels[parent]) if parent >= 0 else 0.0
            rise = max(0.0, float(self.levels[level]) - floor) * (1.0 + 4.0 * ULP)
            found = lognormal(rise / variance * (1.0 + 4.0 * ULP), mesh)
            if children:
                parts = [below(child, level).repeated(times) for child, times in children]
                total = parts[0]
                for part in sorted(parts[1:], key=lambda one: one.mean):
                    total = total.plus(part)
                found = total.times(found) if rise > 0.0 else total
            known[node, parent] = found
            return found

        return below(self.root, -1)


def least_tree(gram: Floats, most_levels: int) -> Tree:
    """The least tree above a matrix, its levels then raised to a few.

    Entries off the diagonal are raised to the largest smallest step on a way between the two bins:
    single linkage, with ``gram`` as the similarity.

    Parameters
    ----------
    gram : array of shape (bins, bins)
        Symmetric, entries >= 0.
    most_levels
        At most so many different levels, about.
    """
    bins = len(gram)
    top = float(gram.max())
    diagonal = np.diagonal(gram)
    if bins == 1:
        return Tree(np.array([top]), (0, ()), 1)
    apart = top - gram
    np.fill_diagonal(apart, 0.0)
    merges = linkage(squareform(np.maximum(apart, 0.0), checks=False), "single")
    # the differences were rounded
    joined = np.clip((top - merges[:, 2]) + 4.0 * ULP * top, 0.0, None)
    levels = _levels(np.concatenate((joined, diagonal)), most_levels)
    at_merge = np.minimum(np.searchsorted(levels, joined), len(levels) - 1)
    at_leaf = np.searchsorted(levels, diagonal)
    groups: dict[int, tuple[int, Counter[Node]]] = {}

    def joining(which: int, level: int) -> Counter[Node]:
        if which < bins:
            return Counter({(max(int(at_leaf[which]), level), ()): 1})
        own, children = groups.pop(which)
        return children if own == level else Counter({_node(own, children): 1})

    for i, (first, second) in enumerate(merges[:, :2].astype(int)):
        level = int(at_merge[i])
        groups[bins + i] = level, joining(first, level) + joining(second, level)
    return Tree(levels, _node(*groups[2 * bins - 2]), bins)


def arrangements(bins: int) -> list[Arrangement]:
    """Those to begin with: the whole, undivided, and powers of two."""
    counts = [2**k for k in range(1, 9)]
    found = [Arrangement(1, 1)]
    found += [Arrangement(u, t) for u in counts for t in counts if u * t <= bins]
    return found


def neighbours(one: Arrangement, bins: int) -> list[Arrangement]:
    """Arrangements that are half as far apart as those to begin with."""
    found = []
    for blocks in {one.blocks, one.blocks * 3 // 4, one.blocks * 3 // 2}:
        for classes in {one.classes, one.classes * 3 // 4, one.classes * 3 // 2}:
            for stride in (1, 2, 4):
                runs = blocks * classes
                if blocks < 2 or not 2 <= runs <= bins or classes == stride == 1:
                    continue
                if stride == 1 or stride < bins // runs:
                    found.append(Arrangement(blocks, classes, stride))
    return found


def _node(level: int, children: Counter[Node]) -> Node:
    return level, tuple(sorted(children.items()))


def _levels(values: Floats, most: int) -> Floats:
    """At most about so many of the values, the largest among them, close to all of them."""
    found = np.unique(values)
    if len(found) > most:
        shares = np.linspace(0.0, 1.0, most // 2 + 1)
        even = found[0] + shares * (found[-1] - found[0])
        near = found[np.minimum(np.searchsorted(found, even), len(found) - 1)]
        found = np.unique(np.concatenate((np.quantile(values, shares, method="higher"), near)))
    return found
