"""What an attacker can learn about one record: every number bounded, from the loss alone.

The attacker sees everything released and tells two neighbouring data sets apart: H0, of which
``fpr`` is the error, and H1.  With ``direction="remove"`` H1 is the data set with the record and
``prior`` the probability of membership; with "add" the roles are exchanged; with None (the default)
the worse of both is bounded.

Every function returns `Bounds`.  ``upper`` is the side to publish for what an attacker gains,
``lower`` for his errors: it holds for every mechanism that the loss describes.  The other side says
that such an attack exists, on the loss's dominating pair where ``loss.exact``.  Derivations:
docs/tradeoff.md, section 5.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from accountant.bounds import Bounds
from accountant.privacy_loss import PrivacyLoss
from accountant.risk.gaussian_dp import check_rate
from accountant.tradeoff import TradeoffCurve

__all__ = [
    "advantage",
    "balanced_accuracy",
    "bayes_accuracy",
    "bayes_error",
    "positive_predictive_value",
    "separation",
    "true_positive_rate",
]

Direction = Literal["add", "remove"]

# Rounding of a handful of operations, and of log and exp (4 ULP assumed), relative.
ROUNDING = 4e-15


def advantage(loss: PrivacyLoss) -> Bounds:
    """Largest membership advantage, max(TPR - FPR): the total variation distance, delta(0).

    Yeom et al. 2018, Definition 4.  The same in both directions.
    """
    return loss.delta_bounds(0.0)


def separation(loss: PrivacyLoss) -> Bounds:
    """Largest distance kappa of the curve from the line of guessing, advantage / sqrt(2).

    arXiv 2601.10237; the distance of (alpha, f(alpha)) from alpha + beta = 1 is
    (1 - alpha - f(alpha))/sqrt(2), largest where 1 - alpha - f(alpha) is delta(0).
    """
    return _increasing(advantage(loss), lambda gap: gap * math.sqrt(0.5))


def balanced_accuracy(loss: PrivacyLoss) -> Bounds:
    """Largest mean of the true positive and the true negative rate, (1 + advantage)/2."""
    return _increasing(advantage(loss), lambda gap: 0.5 + 0.5 * gap)


def true_positive_rate(loss: PrivacyLoss, fpr: Any, direction: Direction | None = None) -> Bounds:
    """Largest true positive rate at given false positive rates (Carlini et al. 2022): 1 - fnr.

    Parameters
    ----------
    loss
        The composed loss.
    fpr
        In [0, 1]; a number, or an array of any shape.
    direction
        "remove", "add", or None for the worse at each rate.

    Raises
    ------
    ValueError
        ``fpr`` is outside [0, 1], or ``direction`` is unknown.
    """
    found = TradeoffCurve(loss, "worst" if direction is None else direction).fnr_bounds(fpr)
    least, most = 1.0 - np.asarray(found.upper), 1.0 - np.asarray(found.lower)
    # the subtraction rounds by up to half an ULP of its result
    least = np.maximum(np.nextafter(least, -1.0), 0.0)
    most = np.minimum(np.nextafter(most, 2.0), 1.0)
    if most.ndim:
        return Bounds(least, most, found.tight)
    return Bounds(float(least), float(most), found.tight)


def bayes_error(loss: PrivacyLoss, prior: float, direction: Direction | None = None) -> Bounds:
    """Smallest probability of a wrong guess, for an attacker who knows the prior.

    With ``prior`` p of H1 and ``epsilon = log((1-p)/p)``: ``p (1 - delta(epsilon))`` for p <= 1/2,
    and ``(1-p) (1 - delta_reverse(-epsilon))`` above.

    Parameters
    ----------
    loss
        The composed loss.
    prior
        Probability of H1, in [0, 1].
    direction
        "remove": H1 is the data set with the record; "add": without; None: the worse of both.

    Raises
    ------
    ValueError
        ``prior`` is no probability, or ``direction`` is unknown.
    """
    p = probability("prior", prior)
    if p > 0.5 and direction is not None:
        direction = "add" if direction == "remove" else "remove"
    rare = min(p, 1.0 - p)
    if rare == 0.0:
        loss.delta_bounds(0.0, direction)  # refuses an unknown direction
        return Bounds(0.0, 0.0)
    odds = math.log1p(-rare) - math.log(rare)
    # delta falls with epsilon: one epsilon below and one above the true one, which 1 - p rounds
    error = ROUNDING * (1.0 + odds)
    above = loss.delta_bounds(max(0.0, odds - error), direction)
    below = loss.delta_bounds(odds + error, direction)
    lower = max(0.0, rare * (1.0 - float(above.upper)) * (1.0 - ROUNDING))
    upper = min(rare, rare * (1.0 - float(below.lower)) * (1.0 + ROUNDING))
    return Bounds(lower, upper, bool(above.tight and below.tight))


def bayes_accuracy(loss: PrivacyLoss, prior: float, direction: Direction | None = None) -> Bounds:
    """Largest probability of a right guess, for an attacker who knows the prior: 1 - bayes_error.

    At least ``max(prior, 1 - prior)``, which guessing without looking reaches.
    """
    found = bayes_error(loss, prior, direction)
    upper = min(1.0, math.nextafter(1.0 - float(found.lower), 2.0))
    return Bounds(max(0.0, math.nextafter(1.0 - float(found.upper), 0.0)), upper, found.tight)


def positive_predictive_value(
    loss: PrivacyLoss, prior: float, fpr: float = 0.0, direction: Direction | None = None
) -> Bounds:
    """Largest share of right accusations among all, over tests with false positive rate >= fpr.

    ``prior TPR / (prior TPR + (1 - prior) FPR)``, largest at the smallest FPR, because
    ``(1 - f(alpha))/alpha`` falls (f is convex).  At ``fpr = 0`` the limit of ever rarer
    accusations: ``1/(1 + (1-prior)/prior e^-epsilon)`` with epsilon = epsilon(0), which is 1 for
    Gaussian noise.  Jayaraman et al. 2021 (arXiv 2005.10881), there for pure and (epsilon, delta).

    Parameters
    ----------
    loss
        The composed loss.
    prior
        Probability of H1, in [0, 1].
    fpr
        The smallest false positive rate that the attacker may have, in [0, 1].
    direction
        "remove", "add", or None for the worse of both.

    Raises
    ------
    ValueError
        ``prior`` or ``fpr`` is no probability, or ``direction`` is unknown.
    """
    p, alpha = probability("prior", prior), probability("fpr", fpr)
    if alpha == 0.0:
        largest = loss.epsilon_bounds(0.0, direction)
        odds = [1.0, 1.0, math.exp(-float(largest.lower)), math.exp(-float(largest.upper))]
        tight = bool(largest.tight)
    else:
        power = true_positive_rate(loss, alpha, direction)
        odds = [float(power.lower), float(power.upper), alpha, alpha]
        tight = bool(power.tight)
    least, most, false_least, false_most = odds
    ends = []
    for true, false in ((least, false_least), (most, false_most)):
        right, wrong = p * true, (1.0 - p) * false
        ends.append(right / (right + wrong) if right + wrong > 0.0 else p)
    return Bounds(
        max(0.0, ends[0] * (1.0 - 2.0 * ROUNDING)),
        min(1.0, ends[1] * (1.0 + 2.0 * ROUNDING)),
        tight,
    )


def probability(name: str, value: Any) -> float:
    """Refuse what is no number within [0, 1]."""
    check_rate(name, value, 0.0, 1.0)
    return float(value)


def _increasing(found: Bounds, function: Any) -> Bounds:
    lower, upper = function(float(found.lower)), function(float(found.upper))
    return Bounds(
        max(0.0, lower * (1.0 - ROUNDING)), min(1.0, upper * (1.0 + ROUNDING)), found.tight
    )
