"""A privacy budget that is spent release by release, each chosen after seeing the last.

docs/budget.md states what is guaranteed, and proves it.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.errors import UnsupportedEventError
from accountant.ledger import Entry, Ledger, LedgerError
from accountant.privacy_loss import privacy_loss
from accountant.spending.adaptive_costs import Cost, pure_divergence, pure_variance
from accountant.spending.budget_record import describe, kept_filter, new_filter, settle
from accountant.spending.budget_report import (
    BudgetExceededError,
    Remaining,
    Spent,
    largest,
    most_copies,
)
from accountant.spending.event_codec import decode_event, encode_event
from accountant.spending.filters import TOLERANCE, Filter
from accountant.spending.ledger_lines import Scalar

__all__ = ["BudgetExceededError", "PrivacyBudget", "Remaining", "Spent"]


class PrivacyBudget:
    """An (epsilon, delta) that all releases recorded in one ledger keep, however they are chosen.

    Made by :meth:`open`.  Any number of budgets, in any number of processes, may be open on one
    file: each decides and writes while the others wait.

    Attributes
    ----------
    ledger
        The log of releases.
    epsilon, delta
        What is guaranteed: what was asked for, times ``1 + 2^-39``, so that ten releases of 0.1
        fit into 1.
    """

    def __init__(self, ledger: Ledger, rule: Filter) -> None:
        self.ledger = ledger
        self._rule = rule
        self._mutex = threading.Lock()
        self._costs: dict[str, Cost] = {}
        self._counts: Counter[str] = Counter()
        self._seen = 0

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        epsilon: float | None = None,
        delta: float | None = None,
        neighboring_relation: NeighboringRelation | None = None,
        filter: Literal["renyi", "gaussian"] | None = None,
        orders: Sequence[float] | None = None,
        failure_delta: float | None = None,
        dataset: str | None = None,
    ) -> PrivacyBudget:
        """The budget kept at ``path``, or a new one.

        Parameters
        ----------
        path
            The ledger.  All releases from the data set must be in it.
        epsilon, delta
            The guarantee.  Needed for a new budget; of one that exists, what is given must agree.
        neighboring_relation
            What neighbouring data sets are; by default ADD_OR_REMOVE_ONE.
        filter
            "renyi" (the default) takes every event that has a privacy loss; "gaussian" takes only
            Gaussian and purely private ones, and loses nothing on the former.
        orders
            Of a Renyi filter, used with equal weights; some are chosen if None.
        failure_delta
            The part of delta for mechanisms that are only (epsilon, delta)-private; by default 0.
        dataset
            Its name, kept in the ledger.

        Raises
        ------
        LedgerError
            The file is damaged; what is given does not agree with it; or releases were recorded
            before there was a budget, which may then have been chosen by what they showed.
        FileNotFoundError
            There is no ledger, and no epsilon and delta for a new one.
        ValueError
            A number is outside its domain.
        """
        if epsilon is None or delta is None:
            ledger = Ledger.load(path)
        else:
            wanted = new_filter(epsilon, delta, filter, orders, failure_delta)
            relation = neighboring_relation or NeighboringRelation.ADD_OR_REMOVE_ONE
            ledger = Ledger.open(path, neighboring_relation=relation, dataset=dataset)
            settle(ledger, wanted)
        rule = kept_filter(ledger)
        kept = describe(rule) | {
            "neighboring_relation": ledger.neighboring_relation,
            "dataset": ledger.dataset,
        }
        given = {
            "epsilon": epsilon,
            "delta": delta,
            "neighboring_relation": neighboring_relation,
            "filter": filter,
            "orders": None if orders is None else [float(order) for order in orders],
            "failure_delta": failure_delta,
            "dataset": dataset,
        }
        for name, value in given.items():
            if value is not None and kept.get(name) != value:
                raise LedgerError(
                    f"the budget in {ledger.path} has {name} {kept.get(name)!r}, not {value!r}: "
                    "leave it out, or keep a ledger of its own for another data set"
                )
        return cls(ledger, rule)

    @property
    def epsilon(self) -> float:
        """The epsilon that is guaranteed."""
        return self._rule.epsilon * (1.0 + 2.0 * TOLERANCE)

    @property
    def delta(self) -> float:
        """The delta that is guaranteed."""
        return self._rule.delta * (1.0 + 2.0 * TOLERANCE)

    @property
    def rule(self) -> Filter:
        """The privacy filter that decides."""
        return self._rule

    # --- spending --------------------------------------------------------------------------------

    def spend(
        self,
        event: dp_event.DpEvent,
        *,
        label: str = "",
        time: datetime | None = None,
        metadata: Mapping[str, Scalar] | None = None,
    ) -> Entry:
        """Write down a release that fits; make the release only after this has returned.

        Raises
        ------
        BudgetExceededError
            It does not fit: nothing was written.
        UnsupportedEventError
            It has no cost under this filter: nothing was written.
        LedgerError, OSError
            See :meth:`accountant.ledger.Ledger.record`.
        """
        encoded = encode_event(event)
        cost = self._price(encoded)

        def fits(entries: Sequence[Entry]) -> None:
            spent = self._spent(entries)
            if not self._fits(spent, cost):
                raise self._exceeded(event, spent, cost)

        return self.ledger.append(
            "release", {"event": encoded}, label=label, time=time, metadata=metadata, guard=fits
        )

    def can_spend(self, event: dp_event.DpEvent) -> bool:
        """Whether a release fits now; only :meth:`spend` can say that nobody else comes first."""
        return self._fits(self._now(), self._price(encode_event(event)))

    def repetitions(self, event: dp_event.DpEvent) -> int:
        """How many copies of a release fit now, at most a million million."""
        spent, cost = self._now(), self._price(encode_event(event))
        return most_copies(lambda n: self._fits(spent, cost, n))

    # --- the state -------------------------------------------------------------------------------

    def spent(self) -> Spent:
        """What has been spent so far."""
        entries = self.ledger.entries()
        cost = self._spent(entries)
        return Spent(
            sum(entry.kind == "release" for entry in entries),
            self._rule.position(cost),
            self._rule.odometer(cost),
            self._fixed(),
            self.delta,
        )

    def _fixed(self) -> float | None:
        with self._mutex:
            merged = [
                dp_event.SelfComposedDpEvent(decode_event(json.loads(key)), count)
                for key, count in self._counts.items()
            ]
        try:
            event = dp_event.ComposedDpEvent(merged)
            loss = privacy_loss(event, self.ledger.neighboring_relation)
        except UnsupportedEventError:
            return None
        return float(loss.epsilon(self._rule.delta))

    def remaining(self) -> Remaining:
        """What one more release may cost."""
        return self._left(self._now())

    def _left(self, spent: Cost) -> Remaining:
        orders = self._rule.orders
        gaussian = self._price(encode_event(dp_event.GaussianDpEvent(1.0)))

        def purely(epsilon: float) -> Cost:
            curve = tuple(pure_divergence(epsilon, order) for order in orders)
            return Cost(curve, epsilon, 0.0, pure_variance(epsilon))

        precision = largest(lambda x: self._fits(spent, gaussian, x), 1e-12, 1e12)
        epsilon = largest(lambda x: self._fits(spent, purely(x)), 1e-12, 50.0)
        failure = getattr(self._rule, "failure_delta", 0.0)
        return Remaining(
            # a millionth more noise than the bisection's answer, for its rounding
            math.inf if precision == 0.0 else (1.0 + 1e-6) / math.sqrt(precision),
            epsilon,
            max(0.0, failure - spent.failure),
        )

    # --- costs -----------------------------------------------------------------------------------

    def _price(self, encoded: Mapping[str, Any]) -> Cost:
        key = _key(encoded)
        found = self._costs.get(key)
        if found is None:
            found = self._rule.price(decode_event(encoded), self.ledger.neighboring_relation)
            self._costs[key] = found
        return found

    def _now(self) -> Cost:
        return self._spent(self.ledger.entries())

    def _spent(self, entries: Sequence[Entry]) -> Cost:
        with self._mutex:
            for entry in entries[self._seen :]:
                if entry.kind == "release":
                    self._price(entry.data["event"])
                    self._counts[_key(entry.data["event"])] += 1
                self._seen += 1
            parts = [(self._costs[key], count) for key, count in self._counts.items()]
        return Cost.total(parts, len(self._rule.orders))

    def _fits(self, spent: Cost, cost: Cost, count: float = 1) -> bool:
        total = Cost.total([(spent, 1), (cost, count)], len(self._rule.orders))
        return self._rule.position(total) <= self._rule.epsilon * (1.0 + TOLERANCE)

    def _exceeded(self, event: dp_event.DpEvent, spent: Cost, cost: Cost) -> BudgetExceededError:
        total = Cost.total([(spent, 1), (cost, 1)], len(self._rule.orders))
        repetitions = 0
        if type(event) is dp_event.SelfComposedDpEvent:
            one = self._price(encode_event(event.event))
            repetitions = most_copies(lambda n: self._fits(spent, one, n))
        rule = self._rule
        positions = (
            f"with it the filter would stand at epsilon {rule.position(total):.6g} of "
            f"{rule.epsilon:.6g} at delta {rule.delta:g}, and stands at {rule.position(spent):.6g}"
        )
        return BudgetExceededError(event, positions, self._left(spent), repetitions)


def _key(encoded: Mapping[str, Any]) -> str:
    return json.dumps(encoded, sort_keys=True)
