"""A published case: what was released, what was printed, and both recomputed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.bounds import Bounds
from accountant.calibration import calibrate, solve
from accountant.errors import CalibrationError
from accountant.gallery.figures import Figure, Quantity, Unknown, Verdict
from accountant.gallery.methods import by_method, squared_sensitivity
from accountant.gallery.releases import Release, composed, filled
from accountant.privacy_loss import privacy_loss
from accountant.risk.attack_risk import separation

__all__ = ["Case", "Recomputation", "RecomputedFigure"]


@dataclass(frozen=True)
class RecomputedFigure:
    """A printed number beside the same, recomputed.

    Attributes
    ----------
    figure
        What was printed.
    as_published
        By the paper's own method; None where it is not known.
    exact
        Certified bounds; None where the number is no property of a release.
    verdict
        "met" or "exceeded": what the certified bounds say of the printed number; "open": it is
        between them; "conditional": met if the missing number is what was solved for;
        "reproduced", "explained" or "not reproduced": its digits by its own method, a difference
        that the case explains, or neither, where there is no bound to compare.
    """

    figure: Figure
    as_published: float | None
    exact: Bounds | None
    verdict: Verdict

    @property
    def reproduced(self) -> bool | None:
        """Whether the paper's own method gives the printed digits; None without a method."""
        return None if self.as_published is None else self.figure.agrees(self.as_published)

    @property
    def explained(self) -> bool:
        """Whether its own method is off by no more than the case explains."""
        return self.as_published is not None and self.figure.explained(self.as_published)


@dataclass(frozen=True)
class Recomputation:
    """A case, recomputed.

    Attributes
    ----------
    case
        The case.
    solved
        The missing number, solved for; None where none is missing.
    bounds
        Certified bounds of the case's quantity for what was released; None where there is none.
    figures
        The published figures, the headline first.
    """

    case: Case
    solved: float | None
    bounds: Bounds | None
    figures: tuple[RecomputedFigure, ...]

    @property
    def exact(self) -> Bounds | None:
        """Certified bounds of the headline's quantity, or of the case's where there is none."""
        return self.figures[0].exact if self.figures else self.bounds

    @property
    def as_published(self) -> float | None:
        """The headline by the paper's own conversion and orders."""
        return self.figures[0].as_published if self.figures else None

    @property
    def verdict(self) -> str:
        """What is to be said of the case, in words."""
        return " ".join(part for part in (self._headline(), self.case.explanation) if part)

    def _headline(self) -> str:
        if not self.figures:
            return "No figure was published."
        first = self.figures[0]
        if first.verdict == "conditional":
            return f"Met if {self.condition}, which was not published."
        return f"{first.verdict.capitalize()}."

    @property
    def condition(self) -> str:
        """What the missing number has to be; empty where none is missing."""
        unknown = self.case.unknown
        if unknown is None or self.solved is None:
            return ""
        side = "at least" if unknown.parameter == "noise_multiplier" else "at most"
        return f"the {unknown.parameter.replace('_', ' ')} is {side} {self.solved:.6g}"


@dataclass(frozen=True)
class Case:
    """A published guarantee, and all that is needed to recompute it.

    Attributes
    ----------
    id, paper, source, unit
        What it is, where its facts stand, and whose privacy it is about.
    relation
        Neighbouring relation.
    quantity
        What is bounded: epsilon at ``delta``, the separation, a squared sensitivity, or nothing.
    delta
        NaN where the case has none.
    releases
        What was released; a missing number is NaN.
    variants
        Other releases that figures belong to, by name.
    unknown
        The missing number; None where none is.
    figures
        What was published, the headline first.
    independent
        What others' accountants give.
    unverified
        Parameters that nobody could check.
    assumption
        Under which the releases describe the run.
    explanation
        Of differences between the figures.
    """

    id: str
    paper: str
    source: str
    unit: str
    relation: NeighboringRelation
    quantity: Quantity
    delta: float
    releases: tuple[Release, ...]
    variants: Mapping[str, tuple[Release, ...]]
    unknown: Unknown | None
    figures: tuple[Figure, ...]
    independent: tuple[Figure, ...]
    unverified: tuple[str, ...]
    assumption: str
    explanation: str

    def __hash__(self) -> int:
        return hash(self.id)

    def event(self, variant: str | None = None) -> dp_event.DpEvent:
        """What was released, as an event; a missing number is solved for.

        Raises
        ------
        ValueError
            There is no such variant, or nothing was released (a case about an attack).
        """
        return composed(self.released(variant))

    def released(self, variant: str | None = None) -> tuple[Release, ...]:
        """The releases of the case or of a variant, with the missing number in its place."""
        if variant is not None:
            if variant not in self.variants:
                raise ValueError(
                    f"{self.id} has no variant {variant!r}; it has {sorted(self.variants)}"
                )
            return self.variants[variant]
        if not self.releases:
            raise ValueError(f"{self.id} is about an attack's outcome: nothing was released")
        solved = self.solved()
        return self.releases if solved is None else filled(self.releases, solved)

    def solved(self) -> float | None:
        """The missing number that just meets its target, on the safe side; None without one."""
        return _solved(self)

    def recompute(self) -> Recomputation:
        """Everything published, recomputed: certified, and by the paper's own method."""
        bounds = None
        if self.releases:
            bounds = _certified(self.quantity, self.released(), self.relation, self.delta)
        return Recomputation(
            self, self.solved(), bounds, tuple(self._recomputed(one) for one in self.figures)
        )

    def _recomputed(self, figure: Figure) -> RecomputedFigure:
        delta = self.delta if figure.delta is None else figure.delta
        releases = self.released(figure.of) if self.releases else ()
        value = None
        if figure.method is not None:
            name, settings = figure.method.name, figure.method.settings
            if name == "solved":
                value = self.solved()
            else:
                priced = releases
                if figure.accounted_as is not None:
                    priced = self.variants[figure.accounted_as]
                value = by_method(name, priced, self.relation, delta, settings)
        exact = _certified(figure.quantity, releases, self.relation, delta)
        return RecomputedFigure(figure, value, exact, self._verdict(figure, value, exact))

    def _verdict(self, figure: Figure, value: float | None, exact: Bounds | None) -> Verdict:
        if exact is None or figure.quantity in ("squared sensitivity", "rho"):
            if value is not None and figure.agrees(value):
                return "reproduced"
            near = value is not None and figure.explained(value)
            return "explained" if near else "not reproduced"
        missing = self.unknown is not None and self.unknown.method is None and figure.of is None
        if figure.sense == "at least":
            passed, failed = exact.lower >= figure.value, exact.upper < figure.value
        else:
            # a computed number was rounded to its digits, in either direction
            limit = figure.value + (figure.half_digit if figure.sense == "value" else 0.0)
            passed, failed = exact.upper <= limit, exact.lower > limit
        if passed:
            return "conditional" if missing else "met"
        return "exceeded" if failed else "open"


@functools.lru_cache(maxsize=256)
def _solved(case: Case) -> float | None:
    unknown = case.unknown
    if unknown is None:
        return None
    low, high = unknown.bracket
    method = unknown.method
    if method is None:
        return calibrate(
            lambda value: composed(filled(case.releases, value)),
            epsilon=unknown.epsilon,
            delta=case.delta,
            bracket=(low, high),
            rtol=1e-9,
            neighboring_relation=case.relation,
        )

    def excess(value: float) -> float:
        releases = filled(case.releases, value)
        found = by_method(method.name, releases, case.relation, case.delta, method.settings)
        return found - unknown.epsilon

    answer = solve(excess, low, high, rtol=1e-9)
    if answer is None:
        raise CalibrationError(
            f"no {unknown.parameter} within [{low:g}, {high:g}] gives an epsilon of "
            f"{unknown.epsilon:g}, by the method {method.name!r}"
        )
    return answer


@functools.lru_cache(maxsize=256)
def _certified(
    quantity: Quantity,
    releases: tuple[Release, ...],
    relation: NeighboringRelation,
    delta: float,
) -> Bounds | None:
    """Certified bounds of a quantity of the releases; None where it is none of theirs."""
    if not releases:
        return None
    match quantity:
        case "epsilon":
            return privacy_loss(composed(releases), relation).epsilon_bounds(delta)
        case "advantage":
            return privacy_loss(composed(releases), relation).delta_bounds(0.0)
        case "separation":
            return separation(privacy_loss(composed(releases), relation))
        case "squared sensitivity":
            exact = squared_sensitivity(releases)
            return Bounds(float(exact), float(exact))
        case _:
            return None
