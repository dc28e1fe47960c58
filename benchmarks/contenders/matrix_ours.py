"""dp-planner's strategies: what it finds for a design, and what it claims of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.contenders.base import Contender, floats
from benchmarks.matrix_tasks import Design
from mechanisms.participation import MinSeparation, Participation, SingleParticipation
from mechanisms.strategies import BLT, Banded, BandedToeplitz, BinaryTree, Dense, Strategy


class Designs(Contender):
    """With the defaults of its `optimize` methods; nothing is kept from one call to the next."""

    def strategy(self, design: Design, stop_after: float | None) -> list[float]:
        steps, size, objective = design.steps, design.size, design.objective
        who = participation(design)
        match design.family:
            case "BLT":
                blt = BLT.optimize(
                    steps=steps, buffers=size, participation=who, objective=objective
                )
                return floats([*blt.decay, *blt.weights])
            case "banded Toeplitz":
                found = BandedToeplitz.optimize(
                    steps=steps, bands=size, participation=who, objective=objective
                )
                return floats(found.coefficients)
            case "banded":
                banded = Banded.optimize(
                    steps=steps, bands=size, participation=who, objective=objective
                )
                rows = banded.coefficients
                columns = np.zeros_like(rows)
                for i in range(size):
                    columns[: steps - i, i] = rows[i:, i]
                return floats(columns.ravel())
        dense = Dense.optimize(steps=steps, participation=who, objective=objective)
        return floats(dense.matrix()[np.tril_indices(steps)])

    def tree_sensitivity(self, steps: int, separation: int, participations: int) -> float:
        found = BinaryTree(steps).sensitivity_bound(MinSeparation(separation, participations))
        assert found.exact
        return found.value**2


def participation(design: Design) -> Participation:
    """Steps of one example, in this library's words."""
    if design.participations == 1:
        return SingleParticipation()
    return MinSeparation(design.separation, design.participations)


def claimed_error(design: Design, answer: list[float]) -> float:
    """What this library says is the error of a strategy, in the design's objective."""
    strategy, who = strategy_of(design, np.array(answer)), participation(design)
    if design.objective == "mean":
        return strategy.rmse(participation=who)
    return strategy.max_error(participation=who)


def strategy_of(design: Design, values: npt.NDArray[np.float64]) -> Strategy:
    """Return the strategy that an answer stands for."""
    if design.family == "BLT":
        return BLT(design.steps, values[: design.size], values[design.size :])
    if design.family == "banded Toeplitz":
        return BandedToeplitz(design.steps, values)
    if design.family == "banded":
        columns = values.reshape(design.steps, design.size)
        rows = np.zeros_like(columns)
        for i in range(design.size):
            rows[i:, i] = columns[: design.steps - i, i]
        return Banded(rows)
    matrix = np.zeros((design.steps, design.steps))
    matrix[np.tril_indices(design.steps)] = values
    return Dense(matrix)
