"""Banded strategies with cyclic Poisson sampling: their event, and how many bands are best.

The examples are partitioned into groups that take turns, and the group's examples are
Poisson-sampled.  Where C has no more bands than there are groups, what one example does in one of
its group's steps never meets what it does in another: the run costs as much as
``ceil(steps/groups)`` Poisson-sampled Gaussian releases (arXiv 2306.08153, section 4;
docs/amplification.md, section 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from dp_accounting import GaussianDpEvent
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.calibration import calibrate
from accountant.events import CyclicPoissonSampledDpEvent
from accountant.parameters import noise, short, whole_count
from mechanisms.amplification.modes import first_column
from mechanisms.optimization import Objective
from mechanisms.participation import CyclicPoisson
from mechanisms.sensitivity import UnsupportedParticipationError
from mechanisms.strategies.base import Strategy
from mechanisms.strategies.toeplitz import BandedToeplitz
from mechanisms.workloads import Workload

__all__ = ["BandChoice", "BandTable", "cyclic_poisson_event", "optimal_bands"]


def cyclic_poisson_event(
    strategy: Strategy, participation: CyclicPoisson, noise_multiplier: float
) -> CyclicPoissonSampledDpEvent:
    """What a banded strategy releases under cyclic Poisson sampling.

    Parameters
    ----------
    strategy
        C lower triangular with at most as many bands as there are groups.
    participation
        The groups, and the probability with which each example of the group is sampled.
    noise_multiplier
        Noise over (clipping norm times the largest column norm of C), the latter being
        ``strategy.sensitivity(participation)``.

    Returns
    -------
    CyclicPoissonSampledDpEvent
        Priced by `accountant.privacy_loss`.  With a fixed partition under REPLACE_SPECIAL (zero
        out) or REPLACE_ONE; under ADD_OR_REMOVE_ONE each example's group must not depend on the
        others: drawn independently, or a function of the example.

    Raises
    ------
    UnsupportedParticipationError
        C has more bands than there are groups, or is not lower triangular.
    ValueError
        A parameter is outside its domain.
    """
    if not isinstance(participation, CyclicPoisson):
        raise ValueError(
            "cyclic Poisson sampling needs a participation of the class CyclicPoisson, got "
            f"{short(participation)}"
        )
    sigma = noise(noise_multiplier, "noise_multiplier")
    groups = participation.groups
    bands = _bands(strategy)
    if bands is None or bands > groups:
        has = "is not lower triangular" if bands is None else f"has {bands} bands"
        raise UnsupportedParticipationError(
            f"cyclic Poisson sampling from {groups} groups is proved for at most {groups} bands, "
            f"and the strategy {has}: use fewer bands, more groups, or BallsInBins, which takes "
            "any strategy"
        )
    return CyclicPoissonSampledDpEvent(
        strategy.steps, groups, participation.sampling_probability, GaussianDpEvent(sigma)
    )


@dataclass(frozen=True)
class BandChoice:
    """One number of bands, at the noise that the target needs.

    Attributes
    ----------
    bands
        Bands of C, and groups of the data set.
    sampling_probability
        Of each example of the group whose turn it is.
    noise_multiplier
        Noise over (clipping norm times largest column norm), calibrated.
    unit_error
        The strategy's error at noise multiplier 1 and clipping norm 1.
    """

    bands: int
    sampling_probability: float
    noise_multiplier: float
    unit_error: float

    @property
    def error(self) -> float:
        """Error of the estimated sums, in units of the clipping norm."""
        return self.noise_multiplier * self.unit_error


@dataclass(frozen=True)
class BandTable:
    """What was compared, by increasing bands.

    Attributes
    ----------
    choices
        One for each number of bands that was tried.
    best
        That of the least error.
    strategy
        Of the best.
    """

    choices: tuple[BandChoice, ...]
    best: BandChoice
    strategy: Strategy

    @property
    def participation(self) -> CyclicPoisson:
        """How the best one samples."""
        return CyclicPoisson(self.best.bands, self.best.sampling_probability)


def optimal_bands(
    steps: int,
    dataset_size: int,
    batch_size: int,
    *,
    epsilon: float,
    delta: float,
    workload: Workload | None = None,
    objective: Objective = "mean",
    bands: Iterable[int] | None = None,
    make_strategy: Callable[[int], Strategy] | None = None,
    neighboring_relation: NeighboringRelation = NeighboringRelation.REPLACE_SPECIAL,
    rtol: float = 1e-4,
) -> BandTable:
    """Choose bands and noise together, at a target epsilon and an expected batch size.

    With p bands the data set falls into p groups, and each example of the group whose turn it is
    is sampled with probability ``batch_size p / dataset_size``: more bands need less noise for the
    same error but are amplified less.

    Parameters
    ----------
    steps, dataset_size, batch_size
        Of the run; the batch is the expected one.
    epsilon, delta
        The target.
    workload
        What is estimated; without it, prefix sums.
    objective
        "mean": root mean squared error over steps, "max": the largest standard error.
    bands
        Numbers of bands to try; without it, powers of two, and what lies around the best of them.
        At most ``dataset_size // batch_size``, so that probabilities are at most 1.
    make_strategy
        From the number of bands to a strategy of at most so many; without it, the optimised banded
        Toeplitz one.
    neighboring_relation
        As of `cyclic_poisson_event`.
    rtol
        Relative distance of each noise multiplier from the least.

    Raises
    ------
    CalibrationError
        No noise meets the target.
    ValueError
        A parameter is outside its domain.
    """
    length = whole_count(steps, "steps", 1)
    records = whole_count(dataset_size, "dataset_size", 1)
    batch = whole_count(batch_size, "batch_size", 1)
    if batch > records:
        raise ValueError(f"batch_size must be at most dataset_size, got {batch} of {records}")
    if objective not in ("mean", "max"):
        raise ValueError(f'objective must be "mean" or "max", got {short(objective)}')
    most = min(length, records // batch)
    make = make_strategy or _optimised(length, workload, objective)
    known: dict[int, tuple[BandChoice, Strategy]] = {}

    def tried(p: int) -> float:
        if p not in known:
            participation = CyclicPoisson(p, min(1.0, batch * p / records))
            strategy = make(p)
            multiplier = calibrate(
                lambda sigma: cyclic_poisson_event(strategy, participation, sigma),
                epsilon=epsilon,
                delta=delta,
                neighboring_relation=neighboring_relation,
                rtol=rtol,
            )
            error = strategy.rmse if objective == "mean" else strategy.max_error
            unit = error(workload, participation)
            choice = BandChoice(p, participation.sampling_probability, multiplier, unit)
            known[p] = choice, strategy
        return known[p][0].error

    if bands is not None:
        for p in bands:
            if whole_count(p, "bands", 1) > most:
                raise ValueError(
                    f"bands must be at most {most}, so that there are steps for them and that "
                    f"probabilities are at most 1, got {p}"
                )
            tried(int(p))
        if not known:
            raise ValueError("bands must name one number at least")
    else:
        for p in {min(most, 2**k) for k in range(most.bit_length() + 1)}:
            tried(p)
        _refine(tried, min(known, key=tried), most)
    best = min(known, key=tried)
    ordered = tuple(known[p][0] for p in sorted(known))
    return BandTable(ordered, known[best][0], known[best][1])


def _refine(error: Callable[[int], float], best: int, most: int) -> None:
    """Try numbers between the best power of two and its neighbours, halving the distance."""
    reach = best // 2
    while reach >= max(1, best // 16):
        around = {max(1, best - reach), min(most, best + reach)}
        best = min({best, *around}, key=error)
        reach //= 2


def _optimised(
    steps: int, workload: Workload | None, objective: Objective
) -> Callable[[int], Strategy]:
    def make(bands: int) -> Strategy:
        return BandedToeplitz.optimize(
            steps=steps, bands=bands, objective=objective, workload=workload
        )

    return make


def _bands(strategy: Strategy) -> int | None:
    """Diagonals of C from the main one to the last that is not zero; None if others are not."""
    column = first_column(strategy)
    if column is not None:
        return min(len(column[0]), strategy.steps)
    matrix = strategy.matrix()
    rows, columns = np.nonzero(matrix)
    below = rows - columns
    if matrix.shape[0] != matrix.shape[1] or np.any(below < 0):
        return None
    return int(below.max(initial=0)) + 1
