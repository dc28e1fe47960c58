"""The support table: how each mechanism is priced, under each sampler and neighbouring relation.

Nothing here is declared: every cell is found by asking ``privacy_loss`` for a representative
event.  ``python -m accountant.support --write`` writes docs/support.md; without ``--write`` the
page is printed.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import RdpAccountant

from accountant import events
from accountant.errors import UnsupportedEventError
from accountant.loss import PrivacyLoss
from accountant.privacy_loss import privacy_loss
from accountant.support_theorems import (
    DOCUMENTED,
    MECHANISM_THEOREMS,
    SAMPLER_THEOREMS,
    sampler_theorem,
)

__all__ = ["MECHANISMS", "SAMPLERS", "Cell", "Verdict", "cells", "page", "peers"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "support.md"

_GAUSSIAN = dp_event.GaussianDpEvent(1.1)

MECHANISMS: dict[str, dp_event.DpEvent] = {
    "Gaussian": _GAUSSIAN,
    "Laplace": dp_event.LaplaceDpEvent(2.0),
    "discrete Gaussian": events.DiscreteGaussianDpEvent(2.0, 1),
    "discrete Laplace": dp_event.DiscreteLaplaceDpEvent(0.5, 1),
    "randomized response": dp_event.RandomizedResponseDpEvent(0.5, 4),
    "exponential (bounded range)": events.ExponentialMechanismDpEvent(1.0),
    "mixture of Gaussians": dp_event.MixtureOfGaussiansDpEvent(
        2.0, [0.0, 1.0, 2.0], [0.5, 0.25, 0.25]
    ),
    "(epsilon, delta) black box": events.ApproximateDpEvent(0.5, 1e-6),
    "pure-DP black box": events.ApproximateDpEvent(0.5),
    "zCDP": dp_event.ZCDpEvent(0.1),
    "RDP curve": events.RenyiDpEvent((2.0, 4.0, 16.0), (0.2, 0.4, 1.6)),
    "tree aggregation": dp_event.SingleEpochTreeAggregationDpEvent(5.0, 16),
    "tree, several participations": events.TreeAggregationDpEvent(5.0, 16, 3, 4),
    "repeat and select": dp_event.RepeatAndSelectDpEvent(_GAUSSIAN, 3.0, 1.0),
    "sparsified Gaussian": events.SparsifiedGaussianDpEvent(1.0, 0.1, 0.1, 1000),
    "several releases of a batch": dp_event.ComposedDpEvent(
        [_GAUSSIAN, dp_event.LaplaceDpEvent(2.0)]
    ),
}


def _truncated(event: dp_event.DpEvent) -> dp_event.DpEvent | None:
    if not isinstance(event, dp_event.GaussianDpEvent):
        return None
    return dp_event.TruncatedSubsampledGaussianDpEvent(100, 0.1, 12, event.noise_multiplier)


def _poisson(event: dp_event.DpEvent) -> dp_event.DpEvent:
    return dp_event.PoissonSampledDpEvent(0.1, event)


def _without_replacement(event: dp_event.DpEvent) -> dp_event.DpEvent:
    return dp_event.SampledWithoutReplacementDpEvent(100, 10, event)


SAMPLERS: dict[str, Callable[[dp_event.DpEvent], dp_event.DpEvent | None]] = {
    "none": lambda event: event,
    "Poisson": _poisson,
    "truncated Poisson": _truncated,
    "without replacement": _without_replacement,
    "with replacement": lambda event: dp_event.SampledWithReplacementDpEvent(100, 10, event),
    "random allocation, one place": lambda event: events.RandomAllocationDpEvent(2, event),
    "random allocation, several": lambda event: events.RandomAllocationDpEvent(3, event, 2),
    "cyclic Poisson": lambda event: events.CyclicPoissonSampledDpEvent(10, 5, 0.1, event),
    "shuffled": lambda event: events.ShuffledDpEvent(2, event),
    "group of 3": lambda event: events.GroupDpEvent(3, event),
    "group of 3, Poisson": lambda event: events.GroupDpEvent(3, _poisson(event)),
    "group of 3, without replacement": lambda event: events.GroupDpEvent(
        3, _without_replacement(event)
    ),
}

RELATIONS = {
    NeighboringRelation.ADD_OR_REMOVE_ONE: "Add or remove one record",
    NeighboringRelation.REPLACE_ONE: "Replace one record",
    NeighboringRelation.REPLACE_SPECIAL: "Zero out one record (REPLACE_SPECIAL)",
}

# Delta at which a cell must have a finite epsilon: above what any event here releases in the clear.
_DELTA = 1e-3


class Verdict(Enum):
    """The words of the table."""

    EXACT = "exact"
    BOUNDS = "bounds"
    UPPER = "upper"
    UNSUPPORTED = "no"
    NO_EVENT = "–"

    @property
    def supported(self) -> bool:
        """Whether an epsilon is proved."""
        return self in (Verdict.EXACT, Verdict.BOUNDS, Verdict.UPPER)


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Parameters
    ----------
    mechanism, sampler, relation
        Its place.
    verdict
        What the code answers.
    theorems
        What a supported cell rests on: the mechanism's theorem, then the sampler's.
    reason
        The code's sentence where it refuses.
    """

    mechanism: str
    sampler: str
    relation: NeighboringRelation
    verdict: Verdict
    theorems: tuple[str, ...] = ()
    reason: str = ""

    @property
    def event(self) -> dp_event.DpEvent | None:
        """The event that stands for the cell; None where there is no word for it."""
        return SAMPLERS[self.sampler](MECHANISMS[self.mechanism])


@lru_cache(maxsize=1)
def cells() -> tuple[Cell, ...]:
    """All cells of the table, asked of the code."""
    return tuple(_ask(m, s, r) for r in RELATIONS for s in SAMPLERS for m in MECHANISMS)


def _ask(mechanism: str, sampler: str, relation: NeighboringRelation) -> Cell:
    event = SAMPLERS[sampler](MECHANISMS[mechanism])
    if event is None:
        return Cell(mechanism, sampler, relation, Verdict.NO_EVENT)
    try:
        loss = privacy_loss(event, relation)
    except UnsupportedEventError as error:
        # the sentence, without the event that it was said of
        reason = re.sub(r"; got .*$", "", str(error))
        return Cell(mechanism, sampler, relation, Verdict.UNSUPPORTED, reason=reason)
    if loss.curves and math.isinf(loss.epsilon(_DELTA)):
        reason = "no finite bound follows from the theorem that covers it"
        return Cell(mechanism, sampler, relation, Verdict.UNSUPPORTED, reason=reason)
    theorems = [MECHANISM_THEOREMS[mechanism]]
    if sampler != "none":
        key = sampler_theorem(sampler, mechanism, relation.name, bool(loss.curves))
        theorems.append(SAMPLER_THEOREMS[key] if key else "")
    return Cell(mechanism, sampler, relation, _verdict(loss), tuple(theorems))


def _verdict(loss: PrivacyLoss) -> Verdict:
    if loss.exact:
        return Verdict.EXACT
    nothing = privacy_loss(dp_event.NoOpDpEvent(), loss.neighboring_relation)
    return Verdict.UPPER if loss.floor == nothing else Verdict.BOUNDS


def peers(cell: Cell) -> tuple[str, ...]:
    """The other accountants that support a cell: dp-accounting's are asked."""
    found = []
    if cell.event is not None:
        for name, accountant in (("PLD", PLDAccountant), ("RDP", RdpAccountant)):
            if accountant(neighboring_relation=cell.relation).supports(cell.event):
                found.append(f"dp-accounting {name}")
    place = (cell.sampler, cell.mechanism)
    for name, peer in DOCUMENTED.items():
        if cell.relation.name in peer.relations and place in peer.cells:
            found.append(name)
    return tuple(found)


# --- the page ------------------------------------------------------------------------------------

_HEAD = """\
# What is supported

Generated from the code by `python -m accountant.support --write`: each cell is the answer to a
representative event. Rows are mechanisms, columns are how the batch is drawn, and each of the three
neighbouring relations has a table. The words mean:

- **exact**: priced by its exact dominating pair; both ends of a bracket are the mechanism's own.
- **bounds**: a proved upper bound, and below it what some mechanism that fits the event attains.
- **upper**: a proved upper bound; nothing but 0 is claimed from below.
- **no**: refused, with the sentence whose number follows.
- **–**: no event says this.

Numbers refer to the notes below: the theorem of an upper bound, or the reason of a refusal.
Supported events compose and repeat with each other at will; one upper bound among them makes the
whole an upper bound. A Gaussian or Laplace event says what adding or removing one record changes:
under replace-one its sensitivity is doubled.
"""

_PEERS_HEAD = """\
## Peers

Cells that another accountant supports. dp-accounting's two accountants are asked; the others are
quoted from their documentation:
{versions}.

dp-accounting's RDP accountant prices Gaussian and Laplace events, alone, chosen among repeated runs
or sampled without replacement, without doubling the sensitivity under replace-one, unlike its own
PLD accountant and unlike this one: halve the noise there to compare. Its PLD accountant (0.6.0)
counts a repeated randomized response once. jax-privacy and opake-accounting price matrix mechanisms
under balls-in-bins and b-min-sep sampling by Monte Carlo; `mechanisms.amplification` bounds those
under balls in bins with certainty, and by sampling; b-min-sep sampling has no theorem here.
"""


def page() -> str:
    """The text of docs/support.md."""
    notes: dict[str, int] = {}
    tables = "\n".join(_table(relation, notes) for relation in RELATIONS)
    lines = [f"{number}. {_sentence(note)}" for note, number in notes.items()]
    listed = "\n".join(lines)
    return f"{_HEAD}\n{tables}\n## Notes\n\n{listed}\n\n{_foundations()}\n{_peers()}"


def _table(relation: NeighboringRelation, notes: dict[str, int]) -> str:
    here = {(c.mechanism, c.sampler): c for c in cells() if c.relation is relation}
    samplers = [s for s in SAMPLERS if any(here[m, s].verdict.supported for m in MECHANISMS)]
    rows = [
        f"## {RELATIONS[relation]}\n",
        "| | " + " | ".join(samplers) + " |",
        "|---" * (len(samplers) + 1) + "|",
    ]
    for mechanism in MECHANISMS:
        words = [_word(here[mechanism, s], notes) for s in samplers]
        rows.append(f"| {mechanism} | " + " | ".join(words) + " |")
    absent = [s for s in SAMPLERS if s not in samplers]
    if absent:
        rows.append("\nNo mechanism is supported here for: " + "; ".join(absent) + ".")
    return "\n".join(rows) + "\n"


def _word(cell: Cell, notes: dict[str, int]) -> str:
    said: tuple[str, ...] = (cell.reason,) if cell.reason else ()
    if cell.verdict in (Verdict.UPPER, Verdict.BOUNDS):
        said = cell.theorems
    numbers = [str(notes.setdefault(note, len(notes) + 1)) for note in said]
    return " ".join([cell.verdict.value, ", ".join(numbers)]).strip()


def _sentence(note: str) -> str:
    return note[0].upper() + note[1:].rstrip(".") + "."


def _foundations() -> str:
    """What the exact cells rest on."""
    rows = ["## What the rules rest on\n"]
    rows += [f"- **{name}**: {_sentence(text)}" for name, text in MECHANISM_THEOREMS.items()]
    rows += [f"- **{name}, {how}**: {_sentence(t)}" for (name, how), t in SAMPLER_THEOREMS.items()]
    return "\n".join(rows) + "\n"


def _peers() -> str:
    versions = ", ".join(f"{name} ({peer.version})" for name, peer in DOCUMENTED.items())
    rows = [_PEERS_HEAD.format(versions=versions)]
    rows.append("| mechanism | sampler | relation | here | peers |\n|---|---|---|---|---|")
    for cell in cells():
        if found := peers(cell):
            place = f"{cell.mechanism} | {cell.sampler} | {cell.relation.name}"
            rows.append(f"| {place} | {cell.verdict.value} | {', '.join(found)} |")
    return "\n".join(rows) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Print the page, or write it."""
    if list(arguments) == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    elif not arguments:
        print(page())
    else:
        sys.exit("python -m accountant.support [--write]: print docs/support.md, or write it")


if __name__ == "__main__":
    main(sys.argv[1:])
