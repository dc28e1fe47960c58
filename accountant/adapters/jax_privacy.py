"""The exact engine behind jax-privacy's accounting.

One line of existing code changes::

    config = PldAccountantConfig()  # before
    config = AccountantConfig()  # after

Code of jax-privacy that takes a ``dp_accounting.PrivacyAccountant`` (its execution plans do) takes
``accountant.Accountant`` as it is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.adapters.dp_accounting import Accountant
from accountant.adapters.scalars import plain_event, whole_number

try:
    from jax_privacy.accounting import PldAccountantConfig
except ImportError as error:
    raise ImportError(
        f"jax-privacy 2.0 or newer is needed ({error}): pip install 'dp-planner[jax-privacy]'"
    ) from None


class JaxPrivacyAccountant(Accountant, PLDAccountant):
    """An :class:`accountant.Accountant` for jax-privacy's training accountants.

    It takes JAX's numbers, each at the end of its rounding that costs more.  It is a
    ``PLDAccountant`` by name, because jax-privacy's user-level analysis asks for one; nothing of
    that class's arithmetic is used.
    """

    def compose(self, event: dp_event.DpEvent, count: Any = 1) -> JaxPrivacyAccountant:
        """Compose ``count`` of the event into what was released so far."""
        super().compose(plain_event(event), whole_number(count, "count"))
        return self

    def supports(self, event: dp_event.DpEvent) -> bool:
        """Whether the event has a proven loss here."""
        return bool(super().supports(plain_event(event)))


@dataclasses.dataclass(kw_only=True, slots=True)
class AccountantConfig(PldAccountantConfig):
    """A configuration that makes jax-privacy account exactly, in place of ``PldAccountantConfig``.

    It is a ``PldAccountantConfig`` by name, because jax-privacy analyses truncated batches and
    user-level privacy under no other; there is no discretisation to choose.

    Parameters
    ----------
    neighboring_relation
        What "neighbouring data sets" means; jax-privacy's own configurations fix
        ADD_OR_REMOVE_ONE.
    """

    value_discretization_interval: float = dataclasses.field(init=False, repr=False, default=1e-4)
    neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE

    def create_accountant(self) -> JaxPrivacyAccountant:
        """An accountant with nothing composed."""
        return JaxPrivacyAccountant(self.neighboring_relation)
