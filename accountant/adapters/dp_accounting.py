"""The exact engine behind dp_accounting's accountant interface."""

from __future__ import annotations

from dp_accounting import dp_event, privacy_accountant
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.adapters.scalars import whole_number
from accountant.errors import UnsupportedEventError
from accountant.privacy_loss import PrivacyLoss, privacy_loss


class Accountant(privacy_accountant.PrivacyAccountant):
    """A ``dp_accounting.PrivacyAccountant`` that answers exactly.

    The releases may adapt to earlier outputs as long as their parameters (sampling probability,
    noise, number and order) are fixed in advance; where those depend on outputs, composition of
    this kind is not valid.

    Parameters
    ----------
    neighboring_relation
        What "neighbouring data sets" means.
    """

    def __init__(
        self, neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE
    ) -> None:
        super().__init__(neighboring_relation)
        self._loss = privacy_loss(dp_event.NoOpDpEvent(), neighboring_relation)

    def _maybe_compose(
        self, event: dp_event.DpEvent, count: int, do_compose: bool
    ) -> privacy_accountant.PrivacyAccountant.CompositionErrorDetails | None:
        times = whole_number(count, "count")
        try:
            found = privacy_loss(event, self.neighboring_relation)
        except UnsupportedEventError as error:
            return self.CompositionErrorDetails(invalid_event=event, error_message=str(error))
        if do_compose:
            self._loss = self._loss + times * found
        return None

    @property
    def privacy_loss(self) -> PrivacyLoss:
        """Everything composed so far."""
        return self._loss

    def get_epsilon(self, target_delta: float) -> float:
        """Certified upper bound of epsilon at ``target_delta``."""
        return float(self._loss.epsilon(target_delta))

    def get_delta(self, target_epsilon: float) -> float:
        """Certified upper bound of delta at ``target_epsilon``."""
        return float(self._loss.delta(max(0.0, target_epsilon)))
