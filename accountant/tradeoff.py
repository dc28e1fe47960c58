"""The trade-off curve of a composed loss: bounds on it, its inverse, and which curve it is.

Curves compose as losses do: the product of the curves of ``a`` and ``b`` is the curve of ``a + b``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from accountant.bounds import Bounds
from accountant.engine.supporting_lines import Sandwich, Side
from accountant.privacy_loss import PrivacyLoss

__all__ = ["CurveKind", "TradeoffCurve"]

Floats = npt.NDArray[np.float64]
CurveKind = Literal["remove", "add", "worst", "envelope"]

# Width that a bracket aims for, relative to the distance from guessing at random.
RTOL = 1e-5


@dataclass(frozen=True)
class TradeoffCurve:
    """The smallest false-negative rate of any attack, at each false-positive rate.

    Parameters
    ----------
    loss : PrivacyLoss
        The composed loss.
    kind : str
        Which curve (docs/tradeoff.md, section 1):

        - "remove": f, where the attacker's null hypothesis is the data set without the record;
        - "add": its inverse, where it is the data set with the record;
        - "worst": the smaller of both at each rate, attained by a test in one of the directions;
          it need not be convex;
        - "envelope": the largest convex curve below "worst". It is what delta(epsilon) of the worse
          direction says, a valid bound, but between the two curves no single test attains it.

    Raises
    ------
    ValueError
        ``loss`` is not a PrivacyLoss, or ``kind`` is not one of the four.

    Notes
    -----
    The lower bounds hold for every mechanism that the loss describes.  The upper bounds follow from
    the lower ends of its deltas: where ``loss.exact``, a test on its dominating pair attains them.
    """

    loss: PrivacyLoss
    kind: CurveKind = "worst"

    def __post_init__(self) -> None:
        if not isinstance(self.loss, PrivacyLoss):
            raise ValueError(f"a trade-off curve is of a PrivacyLoss, got {self.loss!r}")
        if not (isinstance(self.kind, str) and self.kind in get_args(CurveKind)):
            raise ValueError(
                f'kind must be "remove", "add", "worst" or "envelope", got {self.kind!r}'
            )

    @property
    def attained(self) -> bool:
        """Whether every point of the curve is the pair of errors of an actual test."""
        return self.kind != "envelope"

    def inverse(self) -> TradeoffCurve:
        """The curve with both errors exchanged; "worst" and "envelope" are their own inverses."""
        flipped: dict[CurveKind, CurveKind] = {"remove": "add", "add": "remove"}
        return TradeoffCurve(self.loss, flipped.get(self.kind, self.kind))

    def fnr(self, fpr: Any) -> Any:
        """A proved lower bound of the curve at ``fpr``; see :meth:`fnr_bounds`."""
        return self.fnr_bounds(fpr).lower

    def fnr_bounds(self, fpr: Any) -> Bounds:
        """Proved bounds on the curve.

        Parameters
        ----------
        fpr
            Type I errors in [0, 1]; a number, or an array of any shape.

        Returns
        -------
        Bounds
            ``lower``: no attack misses fewer; ``upper``: some attack on the dominating pair (for
            the envelope: a mixture of two) misses no more. ``tight``: the width is at most 1e-4 of
            the distance ``1 - fpr - fnr`` from guessing at random, or 1e-9.

        Raises
        ------
        ValueError
            ``fpr`` is not a number, or not within [0, 1].
        """
        rates = rates_of(fpr)
        lower, upper = self._bounds(rates.ravel())
        tight = upper - lower <= np.maximum(1e-4 * (1.0 - rates.ravel() - lower), 1e-9)
        if rates.ndim == 0:
            return Bounds(float(lower[0]), float(upper[0]), bool(tight[0]))
        return Bounds(*(each.reshape(rates.shape) for each in (lower, upper, tight)))

    def _bounds(self, fpr: Floats) -> tuple[Floats, Floats]:
        if self.loss.non_private:
            return np.zeros(fpr.shape), np.zeros(fpr.shape)
        if self.kind == "envelope":
            worse = Sandwich(side_of(self.loss, None), side_of(self.loss, None))
            return self._bounds_of(fpr, worse, None)
        remove, add = side_of(self.loss, "remove"), side_of(self.loss, "add")
        pairs = []
        if self.kind != "add":
            pairs.append(self._bounds_of(fpr, Sandwich(remove, add), "remove"))
        if self.kind != "remove":
            pairs.append(self._bounds_of(fpr, Sandwich(add, remove), "add"))
        lower, upper = zip(*pairs, strict=True)
        return np.minimum.reduce(lower), np.minimum.reduce(upper)

    def _bounds_of(
        self, fpr: Floats, sandwich: Sandwich, direction: Literal["add", "remove"] | None
    ) -> tuple[Floats, Floats]:
        lower, upper = np.zeros(fpr.shape), 1.0 - fpr
        # the curve's own lower bound; the worse of both directions is above the envelope
        known = fpr == 0.0 if direction is None else np.full(fpr.shape, True)
        if np.any(known):
            lower[known] = self.loss.fnr(fpr[known], direction)
        inside = (fpr > 0.0) & (fpr < 1.0)
        if np.any(inside):
            sandwich.refine(fpr[inside], rtol=RTOL)
            lower[inside] = np.maximum(lower[inside], sandwich.lower(fpr[inside]))
            upper[inside] = sandwich.upper(fpr[inside])
        # where both engines are at their last digits
        return np.minimum(lower, upper), upper


def side_of(loss: PrivacyLoss, direction: Literal["add", "remove"] | None) -> Side:
    """The deltas of one direction of a loss."""

    def delta(epsilons: Floats) -> tuple[Floats, Floats]:
        found = loss.delta_bounds(epsilons, direction)
        return np.asarray(found.lower), np.asarray(found.upper)

    largest = float(loss.epsilon(0.0, direction))
    return Side(delta, lambda target: float(loss.epsilon(target, direction)), largest)


def rates_of(values: Any, name: str = "fpr") -> Floats:
    """Check rates: numbers within [0, 1], as an array of the given shape."""
    wrong = f"{name} must be a number within [0, 1], or an array of them, got {values!r}"
    if isinstance(values, (bool, str, bytes)) or values is None:
        raise ValueError(wrong)
    try:
        given = np.asarray(values)
        kinds = given.dtype.kind in "iuf"
    except ValueError:  # a ragged list
        kinds = False
    if not kinds or not np.all((given >= 0) & (given <= 1)):
        raise ValueError(wrong)
    return given.astype(np.float64)
