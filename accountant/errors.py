"""Everything that the accountant raises on purpose.

- UnsupportedEventError (ValueError; also dp_accounting's own, so code that catches it goes on)
- CalibrationError (ValueError): no parameter in the bracket meets the target
- IncompatibleLossError (ValueError): losses under different neighbouring relations do not add
- LedgerError (ValueError, in ``ledger``): the file is damaged, or not the one expected
- BudgetExceededError (RuntimeError, in ``budget_report``): a release does not fit the budget
"""

from __future__ import annotations

from dp_accounting import privacy_accountant


class UnsupportedEventError(privacy_accountant.UnsupportedEventError, ValueError):
    """The event has no proven privacy loss here; the message says why and what to use instead."""


class CalibrationError(ValueError):
    """No admissible parameter meets the target; the message names the best reachable."""


class IncompatibleLossError(ValueError):
    """Losses that describe different neighbouring relations were combined."""
