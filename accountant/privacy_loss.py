"""From an event to its composed privacy loss."""

from __future__ import annotations

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.dominating_pairs import terms
from accountant.engine.composition import Direction
from accountant.loss import PrivacyLoss, loss_of_terms
from accountant.parameters import check_nesting, short

__all__ = ["Direction", "PrivacyLoss", "privacy_loss"]


def privacy_loss(
    event: dp_event.DpEvent,
    neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
) -> PrivacyLoss:
    """The exact privacy loss of an event.

    Parameters
    ----------
    event
        A dp_accounting ``DpEvent``, composed and nested at will.
    neighboring_relation
        What "neighbouring data sets" means.

    Raises
    ------
    UnsupportedEventError
        A part of the event has no proven loss here; the message says which, why, and what to use.
    ValueError
        A parameter of the event is outside its domain.

    Examples
    --------
    >>> from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    >>> step = privacy_loss(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0)))
    >>> round((1000 * step).epsilon(1e-5), 9)
    1.828236667
    """
    if not isinstance(neighboring_relation, NeighboringRelation):
        raise ValueError(
            "neighboring_relation must be dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, "
            f"REPLACE_ONE or REPLACE_SPECIAL (zero-out), got {short(neighboring_relation)}"
        )
    check_nesting(event)
    return loss_of_terms(terms(event, neighboring_relation), neighboring_relation)
