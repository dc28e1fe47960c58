"""The best buffered linear Toeplitz strategy of so many buffers.

Decays of C and of its inverse interlace where the weights of C are above 0, and any interlacing
numbers belong to such a C: free variables are the logit of the first gap and the logarithms of the
distances to the next ones (docs/blt.md, section 4).  An evaluation takes microseconds, whatever the
number of steps, so that many starts are affordable.
"""

import math
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import toeplitz

from accountant.parameters import whole_count
from mechanisms.optimization import Objective, checked_objective
from mechanisms.strategies.blt_closed_forms import first_column_of_product
from mechanisms.strategies.blt_kernels import chain, minimize_loss
from mechanisms.strategies.toeplitz_errors import is_toeplitz
from mechanisms.workloads import Workload, prefix_sum

__all__ = ["MOST_BUFFERS", "optimal_parameters"]

Array = npt.NDArray[np.float64]
# A workload's pole gaps, pole weights, coefficients and quadratic form, all but one of them empty.
Terms: TypeAlias = tuple[Array, Array, Array, Array]
# Steps, separation and count.
Pattern: TypeAlias = tuple[float, float, float]

MOST_BUFFERS: Final = 64
# The gain of the last ones is below double precision.
_MOST_OPTIMIZED: Final = 16
# Steps of a workload without poles: as many rows of buffers are held.
_LONGEST: Final = 10**6
# Steps of one that is not Toeplitz: a square matrix is held.
_MOST_ROWS: Final = 4096
_REWEIGHTINGS: Final = 8
_NO_GRAM: Final = np.empty((0, 0))

# First gap, in units of 1/steps, and logit of the last one: starts are spread evenly in between.
_FIRST_GAPS: Final = (0.3, 3.0, 30.0)
_LAST_LOGITS: Final = (-1.0, 0.5, 2.0)
_TOLERANCE: Final = 1e-11
_ITERATIONS: Final = 300
# Least distances of starting logits and gaps.
_APART: Final = 1e-3


def optimal_parameters(
    workload: Workload, buffers: int, *, separation: int, count: int, objective: Objective
) -> tuple[Array, Array]:
    """Decay and weights of least squared sensitivity times squared error, both (buffers,).

    Parameters
    ----------
    workload : Workload
    buffers : int
        Within [1, 16].
    separation, count : int
        Of the participation, at this number of steps.
    objective : {"mean", "max"}

    Raises
    ------
    ValueError
        A parameter is outside its domain, or the workload too long.
    """
    mean = checked_objective(objective) == "mean"
    most = whole_count(buffers, "buffers", 1)
    if most > _MOST_OPTIMIZED:
        raise ValueError(
            f"buffers must be at most {_MOST_OPTIMIZED}: more gain nothing in float64; got {most}"
        )
    pattern = float(workload.steps), float(separation), float(count)
    if is_toeplitz(workload):
        free = _best(most, _terms(workload), pattern, mean)
    else:
        free = _best_for_rows(most, workload, pattern, mean)
    gaps, _, _, residues = chain(free)
    decay, weights = 1.0 - gaps[::2], residues[::2]
    # for several participations c_1 must be at most 1, rounding included
    total = math.fsum(weights)
    return decay, weights if total < 1.0 or count == 1 else weights * ((1.0 - 1e-15) / total)


def _terms(workload: Workload) -> Terms:
    """The workload as the kernels take it: gaps and weights of its poles, or its coefficients."""
    poles = workload.poles
    none = np.empty(0)
    if poles is not None and all(0.0 <= pole <= 1.0 for pole, _ in poles):
        gaps = np.array([1.0 - pole for pole, _ in poles])
        return gaps, np.array([weight for _, weight in poles]), none, _NO_GRAM
    if workload.steps > _LONGEST:
        raise ValueError(
            f"a BLT for a workload without poles is optimized for at most {_LONGEST} steps, got "
            f"{workload.steps}: use prefix_sum or momentum, whose poles give closed forms"
        )
    return none, none, np.array(workload.coefficients), _NO_GRAM


def _best(size: int, terms: Terms, pattern: Pattern, mean: bool) -> Array:
    """Free variables of the best strategy found, from one buffer up to `size`."""
    free = np.empty(0)
    for buffers in range(1, size + 1):
        starts = _spread(buffers, pattern[0]) + _with_one_more(free)
        found = [_descend(_free(logits), terms, pattern, mean) for logits in starts]
        free = min(found, key=lambda candidate: candidate[0])[1]
    return free


def _best_for_rows(size: int, workload: Workload, pattern: Pattern, mean: bool) -> Array:
    """The same for a workload that is not Toeplitz, starting from the best for prefix sums.

    Where the largest row counts, rows are weighted, and weighted the more the larger their error
    is, a few times over: the best of all that were met.
    """
    steps = workload.steps
    if steps > _MOST_ROWS:
        raise ValueError(
            f"a BLT for a workload that is not Toeplitz is optimized for at most {_MOST_ROWS} "
            f"steps, got {steps}: optimize for prefix_sum or momentum instead"
        )
    free = _best(size, _terms(prefix_sum(steps)), pattern, mean)
    rows, unit = workload.matrix(), np.eye(1, steps)[0]
    shares = np.full(steps, 1.0 / steps)
    least, best = math.inf, free
    for _ in range(1 if mean else _REWEIGHTINGS):
        gram = _quadratic_form(workload.apply_transpose(shares[:, None] * rows))
        loss, free = _descend(free, (np.empty(0), np.empty(0), unit, gram), pattern, mean)
        if mean:
            return free
        gaps, _, _, residues = chain(free)
        column = first_column_of_product(1.0 - gaps[::2], residues[::2], unit)
        errors = np.square(workload.apply(toeplitz(column, np.zeros(steps)))).sum(axis=1)
        loss += math.log(np.max(errors) / (shares @ errors))
        if loss < least:
            least, best = loss, free
        shares *= errors
        shares /= shares.sum()
    return best


def _quadratic_form(product: Array) -> Array:
    """Q with ``x^T Q x = tr(D^T M D)``, M the product A^T A, D Toeplitz with the first column x."""
    gram = product.copy()
    for row in range(len(gram) - 2, -1, -1):
        gram[row, :-1] += gram[row + 1, 1:]
    return gram


def _descend(free: Array, terms: Terms, pattern: Pattern, mean: bool) -> tuple[float, Array]:
    loss, found, _ = minimize_loss(free, *terms, *pattern, mean, _TOLERANCE, _ITERATIONS)
    return loss, found


def _spread(size: int, steps: float) -> list[Array]:
    """Logits at equal distances: gaps from about 1/steps up to about 1."""
    lasts = _LAST_LOGITS
    firsts = [math.log(gap / (gap + steps)) for gap in _FIRST_GAPS]
    return [np.linspace(first, last, 2 * size) for first in firsts for last in lasts]


def _with_one_more(free: Array) -> list[Array]:
    """Logits of the best strategy of one buffer less, a pole and a zero added at every place."""
    if not len(free):
        return []
    gaps = np.clip(chain(free)[0], 1e-18, 1.0 - 1e-6)
    logits = np.log(gaps / (1.0 - gaps))
    places = np.concatenate(([logits[0] - 3.0], logits, [logits[-1] + 3.0]))
    starts = []
    for low, high in pairwise(places):
        pair = [0.6 * low + 0.4 * high, 0.4 * low + 0.6 * high]
        starts.append(np.sort(np.concatenate((logits, pair))))
    return starts


def _free(logits: Array) -> Array:
    """Free variables, as `chain` takes them, of increasing logits."""
    gaps = 1.0 / (1.0 + np.exp(-logits))
    distances = np.log(np.maximum(np.diff(logits)[:-1], _APART))
    last = math.log(max(gaps[-1] - gaps[-2], _APART))
    return np.concatenate((logits[:1], distances, [last]))
