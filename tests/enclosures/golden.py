"""Stored enclosures: cases, their JSON form, and the dp_accounting events they describe.

``python -m tests.enclosures.generate`` computes them; ``tests/data/enclosures.json`` keeps them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dp_accounting import dp_event
from flint import arb

from tests.enclosures.pairs import (
    Composition,
    Laplace,
    Mixture,
    Pair,
    compose,
    gaussian,
    laplace,
    mixture,
    poisson_gaussian,
)

PATH = Path(__file__).parent.parent / "data" / "enclosures.json"

Spec = list[Any]
"""One term: ["poisson", q, sigma, count], ["gaussian", sigma, count], ["laplace", scale, count] or
["mixture", sigma, centers, probabilities, count]."""


def pair_of(spec: Spec) -> tuple[Pair, int]:
    """The pair that a term describes, and its count."""
    makers = {
        "poisson": poisson_gaussian,
        "gaussian": gaussian,
        "laplace": laplace,
        "mixture": mixture,
    }
    kind, *parameters, count = spec
    return makers[kind](*parameters), count


def event_of(spec: Spec) -> dp_event.DpEvent:
    """The dp_accounting event that a term describes."""
    kind, *parameters, count = spec
    if kind == "poisson":
        q, sigma = parameters
        event: dp_event.DpEvent = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma))
    elif kind == "gaussian":
        event = dp_event.GaussianDpEvent(parameters[0])
    elif kind == "laplace":
        event = dp_event.LaplaceDpEvent(parameters[0])
    else:
        event = dp_event.MixtureOfGaussiansDpEvent(*parameters)
    return event if count == 1 else dp_event.SelfComposedDpEvent(event, count)


@dataclass(frozen=True)
class Case:
    """A composition with enclosures of delta at some epsilons, or of epsilon at some deltas."""

    terms: tuple[Spec, ...]
    direction: str
    query: str  # "delta" (at epsilon = argument) or "epsilon" (at delta = argument)
    argument: float
    low: float
    high: float

    @property
    def composition(self) -> Composition:
        """The composition, for the enclosures."""
        assert self.direction in ("remove", "add")
        return compose(*map(pair_of, self.terms), direction=self.direction)  # type: ignore[arg-type]

    @property
    def event(self) -> dp_event.DpEvent:
        """The composition, for an accountant."""
        return dp_event.ComposedDpEvent([event_of(spec) for spec in self.terms])

    @property
    def name(self) -> str:
        """A readable identifier."""
        terms = "+".join("-".join(str(x) for x in spec) for spec in self.terms)
        return f"{self.query}({self.argument:g})-{self.direction}-{terms}".replace(" ", "")

    def as_json(self) -> dict[str, Any]:
        """The case as JSON data; floats are written with all their digits."""
        return {
            "terms": list(self.terms),
            "direction": self.direction,
            self.query: [self.low, self.high],
            "at": self.argument,
        }


def outward(value: arb) -> tuple[float, float]:
    """Floats around a ball."""
    low, high = float(value.lower()), float(value.upper())
    while low > 0 and not arb(low) <= value.lower():
        low = math.nextafter(low, -math.inf)
    while not arb(high) >= value.upper():
        high = math.nextafter(high, math.inf)
    return max(low, 0.0), high


def load(path: Path = PATH) -> list[Case]:
    """The stored cases."""
    cases = []
    for item in json.loads(path.read_text())["cases"]:
        query = "delta" if "delta" in item else "epsilon"
        low, high = item[query]
        cases.append(Case(tuple(item["terms"]), item["direction"], query, item["at"], low, high))
    return cases


def describe(pair: Pair, count: int) -> Spec:
    """The term that describes a pair (parameters must be floats)."""
    if isinstance(pair, Laplace):
        return ["laplace", float(pair.scale), count]
    assert isinstance(pair, Mixture)
    sigma = float(pair.sigma)
    if pair.is_gaussian and pair.top == 1:
        return ["gaussian", sigma, count]
    if pair.centers == (0, 1) and Fraction(float(pair.probabilities[1])) == pair.probabilities[1]:
        return ["poisson", float(pair.probabilities[1]), sigma, count]
    centers, weights = map(float, pair.centers), map(float, pair.probabilities)
    return ["mixture", sigma, list(centers), list(weights), count]
