"""How published figures were computed: each paper's own accountant, by name.

A method is a name and its settings, as the data file has them.  What it gives is what the authors'
tool gives, not what is certified.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import rdp_privacy_accountant
from scipy import optimize

from accountant.gallery.posterior import epsilon_quantile
from accountant.gallery.releases import CyclicTrees, Release, Tree, composed
from accountant.privacy_loss import PrivacyLoss, privacy_loss
from accountant.renyi import epsilon_from_renyi, epsilon_of_zcdp
from accountant.risk.sgd_limits import shuffled_limit

__all__ = ["SETTINGS", "by_method", "orders", "squared_sensitivity"]

Settings = Mapping[str, Any]
Method = Callable[[Sequence[Release], NeighboringRelation, float, Settings], float]

# A logarithm of the smallest positive double.
LEAST_LOG_DELTA = -744.0


def orders(ranges: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    """A grid of orders from ``[first, last, step]`` ranges, last ones included."""
    parts = [a + s * np.arange(round((b - a) / s) + 1) for a, b, s in ranges]
    return np.concatenate(parts)


def squared_sensitivity(releases: Sequence[Release]) -> int:
    """That of the one tree, or sequence of trees, that the releases are.

    Raises
    ------
    ValueError
        They are something else.
    """
    match list(releases):
        case [Tree() | CyclicTrees() as tree]:
            return tree.squared_sensitivity()
    raise ValueError(f"only a tree has a squared sensitivity here, got {releases!r}")


def by_method(
    name: str,
    releases: Sequence[Release],
    relation: NeighboringRelation,
    delta: float,
    settings: Settings,
) -> float:
    """The figure that a method gives.

    Parameters
    ----------
    name
        One of ``SETTINGS``.
    releases
        What was released; methods that need none ignore them.
    relation
        The neighbouring relation.
    delta
        NaN where the figure has none.
    settings
        Values of the method's settings, by name.
    """
    return _METHODS[name](releases, relation, delta, settings)


@functools.lru_cache(maxsize=256)
def _loss(releases: tuple[Release, ...], relation: NeighboringRelation) -> PrivacyLoss:
    return privacy_loss(composed(releases, plain=True), relation)


def _exact(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, _: Settings
) -> float:
    """The exact curve, of a Gaussian in closed form; a paper's Gaussian stand-ins included."""
    return float(_loss(tuple(releases), relation).epsilon(delta))


def _rdp(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, settings: Settings
) -> float:
    """The exact RDP curve at a paper's orders, by its conversion."""
    loss = _loss(tuple(releases), relation)
    grid = orders(settings["orders"])
    return float(epsilon_from_renyi(loss.renyi, delta, settings["conversion"], grid).value)


def _group_by_rdp(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, settings: Settings
) -> float:
    """TensorFlow Privacy's group privacy: Vadhan 2017, Lemma 2.2, at the best delta of one record.

    ``delta = delta_1 (e^(k epsilon_1) - 1)/(e^(epsilon_1) - 1)``, ``epsilon = k epsilon_1``;
    infinite where no positive delta_1 is small enough.
    """
    loss = _loss(tuple(releases), relation)
    grid = orders(settings["orders"])
    curve = np.asarray(loss.renyi(grid))
    k = settings["group_size"]

    def epsilon(log_delta: float) -> float:
        found = epsilon_from_renyi(lambda _: curve, math.exp(log_delta), "improved", grid)
        return found.value

    def excess(log_delta: float) -> float:
        one = epsilon(log_delta)
        return log_delta + _log_expm1(k * one) - _log_expm1(one) - math.log(delta)

    # the largest delta_1 that will do has the smallest epsilon
    high = math.log(delta)
    low = high - math.log(10.0)
    while excess(low) > 0.0:
        high, low = low, low - math.log(10.0)
        if low < LEAST_LOG_DELTA:
            return math.inf
    best = optimize.brentq(excess, low, high, xtol=1e-12)
    return float(k * epsilon(best))


def _prv(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, settings: Settings
) -> float:
    """The upper end of the PRV accountant (arXiv 2106.02848): its estimate, plus both its errors.

    ``epsilon(delta - delta_error) + epsilon_error``, with the exact curve in place of the
    estimate; ``delta_error`` is given as a share of delta.
    """
    rest = delta * (1.0 - settings["delta_error_share"])
    return float(_loss(tuple(releases), relation).epsilon(rest)) + float(settings["epsilon_error"])


def _zcdp(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, _: Settings
) -> float:
    """``rho + 2 sqrt(rho ln(1/delta))`` (arXiv 1605.02065)."""
    return epsilon_of_zcdp(_rho(releases, relation, delta, {}), delta)


def _rho(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, _: Settings
) -> float:
    """Half the squared sensitivity over the variance; of Gaussians, RDP at order 2 over 2."""
    return float(_loss(tuple(releases), relation).renyi(2.0)) / 2.0


def _squared(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, _: Settings
) -> float:
    return float(squared_sensitivity(releases))


def _library_rdp(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, _: Settings
) -> float:
    """dp_accounting's RdpAccountant with its default orders.

    At fractional orders its moments of sampled Gaussians are upper bounds: sums whose alternating
    terms are taken with their magnitudes.
    """
    return float(_library(rdp_privacy_accountant.RdpAccountant, releases).get_epsilon(delta))


def _library_rdp_order(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, _: Settings
) -> float:
    """The order at which dp_accounting's RdpAccountant found its epsilon."""
    ledger = _library(rdp_privacy_accountant.RdpAccountant, releases)
    return float(ledger.get_epsilon_and_optimal_order(delta)[1])


def _library_pld(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, settings: Settings
) -> float:
    """dp_accounting's PLDAccountant at an interval of its grid."""
    make = functools.partial(
        pld_privacy_accountant.PLDAccountant, value_discretization_interval=settings["interval"]
    )
    return float(_library(make, releases).get_epsilon(delta))


def _library(make: Callable[[], Any], releases: Sequence[Release]) -> Any:
    # its default relation, add/remove: for one Gaussian zero-out is the same
    event: dp_event.DpEvent = composed(releases, plain=True)
    return make().compose(event)


def _limit_separation(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, settings: Settings
) -> float:
    return shuffled_limit(settings["updates"]).separation


def _limit_noise(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, settings: Settings
) -> float:
    return shuffled_limit(settings["updates"]).noise


def _posterior(
    releases: Sequence[Release], relation: NeighboringRelation, delta: float, settings: Settings
) -> float:
    return epsilon_quantile(**settings, delta=delta)


def _log_expm1(x: float) -> float:
    return x + math.log(-math.expm1(-x))


_METHODS: Final[dict[str, Method]] = {
    "exact": _exact,
    "rdp": _rdp,
    "rdp of a group": _group_by_rdp,
    "prv": _prv,
    "zcdp": _zcdp,
    "rho": _rho,
    "squared sensitivity": _squared,
    "dp-accounting rdp": _library_rdp,
    "dp-accounting rdp order": _library_rdp_order,
    "dp-accounting pld": _library_pld,
    "shuffled limit": _limit_separation,
    "noise of the shuffled limit": _limit_noise,
    "bayesian": _posterior,
}

# The settings of each method, and what they are.
SETTINGS: Final[dict[str, dict[str, str]]] = {name: {} for name in _METHODS} | {
    "rdp": {"conversion": "conversion", "orders": "ranges"},
    "rdp of a group": {"group_size": "whole", "orders": "ranges"},
    "prv": {"epsilon_error": "number", "delta_error_share": "number"},
    "dp-accounting pld": {"interval": "number"},
    "shuffled limit": {"updates": "whole"},
    "noise of the shuffled limit": {"updates": "whole"},
    "bayesian": {
        "true_positives": "whole",
        "true_negatives": "whole",
        "false_positives": "whole",
        "false_negatives": "whole",
        "probability": "number",
    },
}
