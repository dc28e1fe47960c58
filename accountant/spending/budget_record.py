"""The entry of a ledger that fixes its budget: written before the first release, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from accountant.ledger import Entry, Ledger, LedgerError
from accountant.spending.filters import Filter, GaussianFilter, RenyiFilter

__all__ = ["describe", "kept_filter", "new_filter", "settle"]

MAX_ORDERS: Final = 1000


def new_filter(
    epsilon: float,
    delta: float,
    kind: str | None,
    orders: Sequence[float] | None,
    failure_delta: float | None,
) -> Filter:
    """The filter of a new budget; see :meth:`accountant.budget.PrivacyBudget.open`."""
    if kind == "gaussian":
        if orders is not None or failure_delta:
            raise ValueError('a Gaussian filter has no orders and no failure_delta: use "renyi"')
        return GaussianFilter(epsilon, delta)
    if kind not in (None, "renyi"):
        raise ValueError(f'filter must be "renyi" or "gaussian", got {kind!r}')
    return RenyiFilter.at(epsilon, delta, orders, failure_delta or 0.0)


def describe(rule: Filter) -> dict[str, Any]:
    """What the entry says of a filter."""
    described: dict[str, Any] = {"epsilon": float(rule.epsilon), "delta": float(rule.delta)}
    if isinstance(rule, GaussianFilter):
        return {"filter": "gaussian", **described}
    return {
        "filter": "renyi",
        **described,
        "orders": list(rule.orders),
        "weights": list(rule.weights),
        "failure_delta": float(rule.failure_delta),
    }


def settle(ledger: Ledger, wanted: Filter) -> None:
    """Write the budget down, if nobody else has.

    Raises
    ------
    LedgerError
        There are releases already.
    """

    def first(entries: Sequence[Entry]) -> None:
        if any(entry.kind == "budget" for entry in entries):
            raise FileExistsError
        if any(entry.kind == "release" for entry in entries):
            raise LedgerError(
                f"{ledger.path} has releases already, and a budget must be fixed before the first: "
                "what they showed may have chosen it"
            )

    with suppress(FileExistsError):
        ledger.append("budget", describe(wanted), guard=first)


def kept_filter(ledger: Ledger) -> Filter:
    """The filter that the ledger's budget describes.

    Raises
    ------
    LedgerError
        There is none, or it is not valid.
    """
    entries = ledger.entries()
    found = [entry for entry in entries if entry.kind == "budget"]
    if not found:
        raise LedgerError(f"{ledger.path} keeps no budget: open it with an epsilon and a delta")
    try:
        if len(found) > 1 or any(e.kind == "release" for e in entries[: found[0].sequence]):
            raise ValueError("there must be one, before the first release")
        return _read(found[0].data)
    except ValueError as error:
        raise LedgerError(f"the budget in {ledger.path} is not valid: {error}") from error


def _read(data: Mapping[str, Any]) -> Filter:
    match data:
        case {"filter": "gaussian", "epsilon": epsilon, "delta": delta, **rest} if not rest:
            return GaussianFilter(epsilon, delta)
        case {
            "filter": "renyi",
            "epsilon": epsilon,
            "delta": delta,
            "orders": list(orders),
            "weights": list(weights),
            "failure_delta": failure_delta,
            **rest,
        } if not rest and len(orders) <= MAX_ORDERS:
            return RenyiFilter(epsilon, delta, tuple(orders), tuple(weights), failure_delta)
    raise ValueError("it does not describe a filter")
