"""Exact, certified privacy accounting: what a differentially private computation costs.

>>> from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
>>> from accountant import privacy_loss
>>> step = privacy_loss(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0)))
>>> lower, upper = (1000 * step).epsilon_bounds(1e-5)
"""

from accountant.adapters.dp_accounting import Accountant
from accountant.bounds import Bounds
from accountant.budget import PrivacyBudget
from accountant.calibration import calibrate
from accountant.errors import CalibrationError, IncompatibleLossError, UnsupportedEventError
from accountant.guarantee import Guarantee
from accountant.ledger import Ledger, LedgerError
from accountant.privacy_loss import PrivacyLoss, privacy_loss
from accountant.risk.gaussian_dp import GaussianDP
from accountant.risk.gaussian_dp_fit import gaussian_dp
from accountant.spending.budget_report import BudgetExceededError
from accountant.tradeoff import TradeoffCurve

__all__ = [
    "Accountant",
    "Bounds",
    "BudgetExceededError",
    "CalibrationError",
    "GaussianDP",
    "Guarantee",
    "IncompatibleLossError",
    "Ledger",
    "LedgerError",
    "PrivacyBudget",
    "PrivacyLoss",
    "TradeoffCurve",
    "UnsupportedEventError",
    "calibrate",
    "gaussian_dp",
    "privacy_loss",
]
