"""What an attack's confusion matrix says about epsilon, for one who is Bayesian about it.

Zanella-Beguelin et al. 2023 (arXiv 2206.05199): the false negative and the false positive rate have
independent posteriors, Beta by Jeffreys' prior, and epsilon is at most e with the probability that
both rates together are within the (e, delta) privacy region.  An estimate, about one attack: it
bounds nothing that another attack may find.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special

__all__ = ["epsilon_quantile"]

# Gauss-Legendre nodes in each of the cells of the rate's distribution.
CELLS, NODES = 400, 16
LARGEST = 60.0


def epsilon_quantile(
    true_positives: int,
    true_negatives: int,
    false_positives: int,
    false_negatives: int,
    delta: float,
    probability: float,
) -> float:
    """The epsilon that the posterior puts below with this probability; 0 where it is more at 0.

    Parameters
    ----------
    true_positives, true_negatives, false_positives, false_negatives
        The confusion matrix of a membership-inference attack.
    delta
        Of the region.
    probability
        Within (0, 1).

    Raises
    ------
    ValueError
        The quantile is beyond 60: the matrix says too little.
    """
    fpr = (0.5 + false_positives, 0.5 + true_negatives)
    fnr = (0.5 + false_negatives, 0.5 + true_positives)
    at, weights = np.polynomial.legendre.leggauss(NODES)
    # cells that shrink towards both ends, where a quantile may be steep
    edges = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, CELLS + 1))
    centres, halves = 0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges)
    rates = special.betaincinv(*fpr, (centres[:, None] + halves[:, None] * at).ravel())
    weights = (halves[:, None] * weights).ravel()

    def excess(epsilon: float) -> float:
        grow = math.exp(epsilon)
        slack = 1.0 - delta
        low = np.maximum(slack - grow * rates, (slack - rates) / grow)
        high = 1.0 - np.maximum(slack - grow * (1.0 - rates), (slack - (1.0 - rates)) / grow)
        inside = special.betainc(*fnr, np.clip(high, 0.0, 1.0))
        inside = inside - special.betainc(*fnr, np.clip(low, 0.0, 1.0))
        return float(weights @ np.maximum(inside, 0.0)) - probability

    if excess(0.0) >= 0.0:
        return 0.0
    if excess(LARGEST) < 0.0:
        raise ValueError(
            f"the posterior puts less than {probability:g} below epsilon = {LARGEST:g}: the attack "
            "was tried too seldom to say more; give it more trials, or ask for a smaller quantile"
        )
    return float(optimize.brentq(excess, 0.0, LARGEST, xtol=1e-12))
