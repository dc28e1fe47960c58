"""Random configurations over the whole promised domain: ``python -m tests.sweep --count 10000``.

For every configuration, in both directions:

- brackets are finite and ordered, and the worse direction's is the larger of the two;
- a bracket that says it is tight is: relatively 1e-9 on epsilon (1e-6 on slow tails), or 1e-12 on
  delta where epsilon is ill-conditioned;
- epsilon and delta agree: delta(epsilon.upper) <= delta <= delta(epsilon.lower), and a larger
  delta never costs a larger epsilon;
- where rigorous enclosures are cheap (one or two steps, Gaussians, a fast characteristic
  function), both ends of the epsilon bracket and a delta bracket lie on the right side of them.

Prints a summary by region, every violation, and exits with 1 if there was one.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from flint import arb

from accountant import Bounds, PrivacyLoss, privacy_loss
from tests.enclosures import truth
from tests.enclosures.golden import Spec, event_of, pair_of
from tests.enclosures.inversion import TooManyNodesError
from tests.enclosures.pairs import DIRECTIONS, Composition, Direction, compose

SLOW_WIDTH = 1e-6
EPSILON_RANGE = (1e-3, 1e3)  # the widths are promised for these


@dataclass(frozen=True)
class Config:
    """One configuration: terms (see ``enclosures.golden``) and a target delta."""

    terms: tuple[Spec, ...]
    delta: float

    @property
    def loss(self) -> PrivacyLoss:
        """The accountant's loss."""
        total = privacy_loss(event_of(self.terms[0]))
        for spec in self.terms[1:]:
            total = total + privacy_loss(event_of(spec))
        return total

    def composition(self, direction: Direction) -> Composition:
        """The enclosures' composition."""
        return compose(*map(pair_of, self.terms), direction=direction)

    def __str__(self) -> str:
        return " + ".join(str(spec) for spec in self.terms) + f", delta={self.delta!r}"


def _log_uniform(random: Random, low: float, high: float) -> float:
    return min(high, max(low, math.exp(random.uniform(math.log(low), math.log(high)))))


def _poisson(random: Random, balanced: bool) -> Spec:
    """A term anywhere in the domain or, balanced, one with a moderate total loss."""
    sigma = _log_uniform(random, 0.2, 1e3)
    if random.random() < 0.08:
        return ["gaussian", sigma, int(_log_uniform(random, 1, 1e9))]
    if not balanced:
        few = random.random() < 0.25
        steps = random.randint(1, 30) if few else int(_log_uniform(random, 1, 1e9))
        return ["poisson", _log_uniform(random, 1e-9, 1.0), sigma, steps]
    # choose q, then steps such that q sqrt(T (e^(1/s^2) - 1)), the rough total mu, is moderate
    sigma = min(sigma, 30.0)
    q = _log_uniform(random, 1e-6, 1.0)
    mu = _log_uniform(random, 0.03, 30.0)
    steps = (mu / q) ** 2 / math.expm1(min(1 / sigma**2, 30.0))
    return ["poisson", q, sigma, int(min(max(steps, 1), 1e9))]


def draw(random: Random) -> Config:
    """A random configuration."""
    kind = random.random()
    terms: list[Spec] = [_poisson(random, balanced=kind > 0.4)]
    if kind > 0.85:  # heterogeneous
        terms.append(_poisson(random, balanced=True))
        if kind > 0.95:
            scale = _log_uniform(random, 0.5, 100.0)
            terms.append(["laplace", scale, random.randint(1, 20)])
    elif kind > 0.8:  # dyadic probabilities, which add up to exactly 1
        size = random.randint(2, 4)
        centers = sorted(random.sample([0.25 * i for i in range(1, 17)], size - 1))
        weights = [2.0 ** -random.randint(2, 12) for _ in centers]
        terms = [
            [
                "mixture",
                _log_uniform(random, 0.5, 50.0),
                [0.0, *centers],
                [1.0 - sum(weights), *weights],
                int(_log_uniform(random, 1, 1e4)),
            ]
        ]
    delta = (
        _log_uniform(random, 1e-100, 0.5)
        if random.random() < 0.3
        else _log_uniform(random, 1e-14, 0.5)
    )
    return Config(tuple(terms), delta)


@dataclass
class Outcome:
    """What a configuration showed."""

    config: Config
    violations: list[str] = field(default_factory=list)
    brackets: dict[str, Bounds] = field(default_factory=dict)
    enclosed: int = 0
    seconds: float = 0.0

    def expect(self, holds: bool, message: str) -> None:
        """Record a violation unless ``holds``."""
        if not holds:
            self.violations.append(f"{self.config}: {message}")


def _ordered(outcome: Outcome, name: str, bounds: Bounds, top: float = math.inf) -> None:
    low, high = bounds
    outcome.expect(
        0.0 <= low <= high <= top and not math.isinf(low), f"{name} is not a bracket: {bounds}"
    )


def narrow(loss: PrivacyLoss, direction: Direction, bounds: Bounds) -> bool:
    """Whether a bracket on epsilon keeps the promise of the tight ones."""
    low, high = bounds
    if high <= EPSILON_RANGE[0] or low >= EPSILON_RANGE[1] or high - low <= SLOW_WIDTH * high:
        return True
    # ill-conditioned: the bracket is as narrow in delta as a relative 1e-12 allows
    at_low, at_high = loss.delta_bounds(low, direction), loss.delta_bounds(high, direction)
    return bool(at_low.lower <= at_high.upper * (1 + 1e-11))


def check(config: Config, *, enclose: bool, budget: int = 600) -> Outcome:
    """Check one configuration; ``enclose`` compares with rigorous enclosures where cheap."""
    outcome = Outcome(config)
    loss, delta = config.loss, config.delta
    start = time.perf_counter()
    worse = loss.epsilon_bounds(delta)
    outcome.seconds = time.perf_counter() - start
    _ordered(outcome, "epsilon", worse)
    outcome.brackets["worse"] = worse
    for direction in DIRECTIONS:
        bounds = loss.epsilon_bounds(delta, direction)
        outcome.brackets[direction] = bounds
        _ordered(outcome, f"epsilon ({direction})", bounds)
        if outcome.violations:
            return outcome
        if bounds.tight:
            outcome.expect(
                narrow(loss, direction, bounds), f"{direction} says it is tight: {bounds}"
            )
        _consistent(outcome, loss, direction, bounds)
        if enclose:
            _enclosed(outcome, loss, direction, bounds, budget)
    highest = max(outcome.brackets[d].lower for d in DIRECTIONS)
    lowest = max(outcome.brackets[d].upper for d in DIRECTIONS)
    outcome.expect(
        worse.lower <= lowest and highest <= worse.upper,
        f"the worse direction's bracket {worse} misses {outcome.brackets}",
    )
    return outcome


def _consistent(outcome: Outcome, loss: PrivacyLoss, direction: Direction, bounds: Bounds) -> None:
    """The queries of one direction agree with each other."""
    delta = outcome.config.delta
    if math.isfinite(bounds.upper):
        above = loss.delta_bounds(bounds.upper, direction)
        _ordered(outcome, f"delta({bounds.upper!r}) ({direction})", above, 1.0)
        outcome.expect(
            above.lower <= delta, f"{direction}: delta(epsilon.upper) = {above} exceeds delta"
        )
    if bounds.lower > 0:
        below = loss.delta_bounds(bounds.lower, direction)
        _ordered(outcome, f"delta({bounds.lower!r}) ({direction})", below, 1.0)
        outcome.expect(
            below.upper >= delta, f"{direction}: delta(epsilon.lower) = {below} is below delta"
        )
    looser = loss.epsilon_bounds(min(2 * delta, 0.999), direction)
    outcome.expect(
        looser.lower <= bounds.upper, f"{direction}: {looser} at twice delta, {bounds} at delta"
    )


def _enclosed(
    outcome: Outcome, loss: PrivacyLoss, direction: Direction, bounds: Bounds, budget: int
) -> None:
    """Both ends of the bracket, and a delta bracket, are on the right side of the truth."""
    composition = outcome.config.composition(direction)
    goal = arb(outcome.config.delta)
    ends = [end for end in (bounds.lower, bounds.upper) if 0 < end < math.inf] or [0.0]
    if bounds.lower == 0.0 < bounds.upper < math.inf:
        ends = [bounds.upper]
    try:
        for end in ends:
            exact = truth.delta(composition, end, digits=14, budget=budget)
            outcome.enclosed += 1
            found = loss.delta_bounds(end, direction)
            outcome.expect(
                bool(arb(found.upper) >= exact.lower()) and bool(arb(found.lower) <= exact.upper()),
                f"{direction}: delta({end!r}) = {found} misses {exact.str(20)}",
            )
            if end == bounds.upper:
                outcome.expect(
                    bool(exact.lower() <= goal),
                    f"UNSOUND {direction}: at epsilon.upper {end!r} delta is {exact.str(20)}",
                )
            if end == bounds.lower and end > 0:
                outcome.expect(
                    bool(exact.upper() >= goal),
                    f"UNSOUND {direction}: at epsilon.lower {end!r} delta is {exact.str(20)}",
                )
    except (TooManyNodesError, ArithmeticError):
        return


def sweep(count: int, seed: int, *, enclose_every: int = 1) -> Iterator[Outcome]:
    """The outcomes of ``count`` random configurations."""
    random = Random(seed)
    for index in range(count):
        config = draw(random)
        try:
            yield check(config, enclose=index % enclose_every == 0)
        except Exception as error:
            traceback.print_exc(limit=-3)
            yield Outcome(config, [f"{config}: raises {error!r}"])


def _region(config: Config) -> str:
    kinds = {spec[0] for spec in config.terms}
    if len(config.terms) > 1:
        return "heterogeneous" + (" with Laplace" if "laplace" in kinds else "")
    spec = config.terms[0]
    if spec[0] != "poisson":
        return str(spec[0])
    steps = spec[-1]
    size = "T = 1" if steps == 1 else "T <= 30" if steps <= 30 else "T > 30"
    active = spec[1] * steps
    return f"poisson, {size}, " + (
        "q T < 0.1" if active < 0.1 else "q T < 10" if active < 10 else "q T >= 10"
    )


@dataclass
class Tally:
    """Counts for one region."""

    configs: int = 0
    enclosures: int = 0
    brackets: int = 0
    loose: int = 0
    zero: int = 0
    precise: int = 0
    seconds: list[float] = field(default_factory=list)


def summary(tallies: dict[str, Tally]) -> str:
    """A table of the regions."""
    lines = [
        f"{'region':34}{'configs':>8}{'enclosed':>9}{'eps=0':>7}{'1e-9':>7}{'loose':>7}"
        f"{'median ms':>11}{'max ms':>9}"
    ]
    for region, tally in sorted(tallies.items()):
        times = sorted(tally.seconds)
        lines.append(
            f"{region:34}{tally.configs:8}{tally.enclosures:9}"
            f"{tally.zero / max(tally.brackets, 1):7.1%}"
            f"{tally.precise / max(tally.brackets, 1):7.1%}"
            f"{tally.loose / max(tally.brackets, 1):7.1%}{1e3 * times[len(times) // 2]:11.2f}"
            f"{1e3 * times[-1]:9.1f}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run a sweep and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument(
        "--enclose-every", type=int, default=5, help="compare each n-th with enclosures"
    )
    options = parser.parse_args()
    tallies: dict[str, Tally] = defaultdict(Tally)
    violations = 0
    start = time.perf_counter()
    for outcome in sweep(options.count, options.seed, enclose_every=options.enclose_every):
        tally = tallies[_region(outcome.config)]
        tally.configs += 1
        tally.enclosures += outcome.enclosed
        tally.seconds.append(outcome.seconds)
        for direction in DIRECTIONS:
            if (bounds := outcome.brackets.get(direction)) is None:
                continue
            tally.brackets += 1
            tally.loose += not bounds.tight
            tally.zero += bounds.upper == 0
            tally.precise += bounds.upper - bounds.lower <= 1e-9 * bounds.upper
        done = sum(one.configs for one in tallies.values())
        if done % 500 == 0:
            print(f"{done} done, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        for violation in outcome.violations:
            violations += 1
            print(violation, flush=True)
    print(summary(tallies))
    print(
        f"{options.count} configurations, seed {options.seed}, {violations} violations, "
        f"{time.perf_counter() - start:.0f} s"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
