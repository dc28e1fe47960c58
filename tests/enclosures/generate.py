"""Compute the stored enclosures: ``python -m tests.enclosures.generate`` (about half an hour).

``--only TEXT`` recomputes the cases whose name contains TEXT; others are kept as they are.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Iterator

import flint

from tests.enclosures import golden, truth
from tests.enclosures.golden import Case, Spec
from tests.enclosures.inversion import TooManyNodesError
from tests.enclosures.lattice import discretised

BUDGET = 1_000_000
DIRECTIONS = ("remove", "add")

TABLE = [  # the configurations of the design's table, then VaultGemma's
    (0.01, 1.0, 1_000, [1e-5]),
    (256 / 60_000, 1.1, 14_062, [1e-5]),
    (0.05, 0.5, 10_000, [1e-6]),
    (0.001, 0.8, 50_000, [1e-10, 1e-12, 1e-15, 1e-20, 1e-40, 1e-100]),
    (2e-4, 0.6, 100_000, [1e-10]),
    (1e-4, 0.5, 100_000, [1e-11]),
    (4.08e-5, 0.614, 100_000, [1.1e-10]),
    (4e-5, 0.614, 100_000, [1.1e-10]),
    (517_989 / 9.6e9, 0.614, 100_000, [1.1e-10]),
    (517_989 / 1.27e10, 0.614, 100_000, [1.1e-10]),
]

LARGE: list[tuple[list[Spec], list[float]]] = [  # deltas at which epsilon is stored
    ([["poisson", 1e-6, 1.0, 10**9]], [1e-6, 1e-12]),
    ([["poisson", 1e-5, 2.0, 10**9]], [1e-5, 1e-40]),
    ([["poisson", 0.01, 1000.0, 10**9]], [1e-5, 1e-30]),
    ([["poisson", 0.75, 0.25, 64]], [1e-5, 1e-30]),
    ([["poisson", 0.9, 0.5, 100]], [0.4, 1e-9]),
    ([["poisson", 0.02, 20.0, 100_000]], [1e-6]),
    ([["poisson", 0.1, 4.0, 50]], [1e-3, 1e-100]),
    ([["poisson", 0.01, 0.3, 1_000]], [1e-5]),
    ([["poisson", 0.2, 1.0, 30]], [0.1, 1e-8]),
    ([["gaussian", 5.0, 3], ["poisson", 0.01, 1.0, 500]], [1e-5, 1e-20]),
    ([["poisson", 0.01, 1.0, 500], ["poisson", 0.004, 0.8, 2_000]], [1e-6]),
    ([["laplace", 5.0, 2], ["gaussian", 3.0, 4]], [1e-3, 1e-8]),
    ([["laplace", 20.0, 30], ["gaussian", 8.0, 2], ["poisson", 0.05, 1.5, 200]], [1e-6]),
    ([["mixture", 2.0, [0.0, 1.0, 2.0, 4.0], [0.5, 0.25, 0.125, 0.125], 64]], [1e-5, 1e-20]),
    ([["mixture", 1.5, [0.25, 1.0], [0.75, 0.25], 20]], [1e-5]),
    ([["mixture", 1.0, [0.0, 1.0, 3.0], [0.96875, 0.015625, 0.015625], 200]], [1e-6]),
]

FEW = [  # few steps: delta at fixed epsilons, on both sides of where epsilon vanishes
    (q, sigma, steps)
    for steps in (1, 2, 3, 5, 10, 30)  # T = 1, 2 by closed forms and integrals
    for q in (1e-9, 1e-4, 1e-2)
    for sigma in (0.5, 1.0)
]

SLOW: list[tuple[list[Spec], list[float]]] = [  # epsilons at which delta is stored
    ([["poisson", 1e-4, 1.0, 100]], [0.01, 0.5]),
    ([["poisson", 1e-6, 0.6, 10**6]], [0.5]),
    ([["poisson", 1e-5, 0.7, 10**5]], [0.1, 2.0]),
]


def wanted() -> Iterator[tuple[tuple[Spec, ...], str, str, float]]:
    """Every case's terms, direction, query and argument."""
    for q, sigma, steps, targets in TABLE:
        for direction in DIRECTIONS:
            for target in targets:
                yield (["poisson", q, sigma, steps],), direction, "epsilon", target
    for terms, targets in LARGE:
        for direction in DIRECTIONS:
            for target in targets:
                yield tuple(terms), direction, "epsilon", target
    for q, sigma, steps in FEW:
        for direction in DIRECTIONS:
            edge = q * steps  # the largest loss of the add direction is about q times steps
            epsilons = [0.0, 1e-3, 0.1, 1.0] if direction == "remove" else [0.0, edge / 3]
            for eps in epsilons:
                yield (["poisson", q, sigma, steps],), direction, "delta", eps
    for terms, epsilons in SLOW:
        for eps in epsilons:
            yield tuple(terms), "remove", "delta", eps


def compute(terms: tuple[Spec, ...], direction: str, query: str, argument: float) -> Case:
    """The enclosure of one case."""
    composition = Case(terms, direction, query, argument, 0.0, 0.0).composition
    if query == "epsilon":
        found = truth.epsilon(composition, argument, budget=BUDGET)
        return Case(terms, direction, query, argument, found.low, found.high)
    steps = sum(count for _, count in composition.terms)
    if 2 < steps <= 30 and all(spec[0] == "poisson" and spec[1] < 1e-3 for spec in terms):
        # the characteristic function hardly decays: the lattice is coarser but quick
        value = discretised(composition, argument, points=1000)
    elif steps <= 30:
        try:
            value = truth.delta(composition, argument, digits=12, budget=BUDGET)
        except TooManyNodesError:
            value = discretised(composition, argument, points=1000)
    else:
        value = truth.delta(composition, argument, digits=9, budget=2 * BUDGET)
    return Case(terms, direction, query, argument, *golden.outward(value))


def main() -> None:
    """Recompute what is asked for and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="recompute the cases whose name contains this")
    parser.add_argument("--missing", action="store_true", help="compute only what is not stored")
    options = parser.parse_args()
    stored = {case.name: case for case in golden.load()} if golden.PATH.exists() else {}
    cases: list[Case] = []
    for item in wanted():
        name = Case(*item, 0.0, 0.0).name
        keep = (options.only and options.only not in name) or (options.missing and name in stored)
        if keep:
            if name in stored:
                cases.append(stored[name])
            continue
        start = time.perf_counter()
        try:
            case = compute(*item)
        except (TooManyNodesError, ArithmeticError) as error:
            print(f"{name}: left out, {error}", flush=True)
            continue
        cases.append(case)
        seconds = time.perf_counter() - start
        print(f"{name}: [{case.low!r}, {case.high!r}] in {seconds:.1f} s", flush=True)
        write(cases, stored)
    write(cases, stored)


def write(cases: list[Case], stored: dict[str, Case]) -> None:
    """Write the cases, and the stored ones that a recomputation has not reached yet."""
    done = {case.name for case in cases}
    rest = [case for name, case in stored.items() if name not in done]
    document = {
        "provenance": {
            "what": "rigorous enclosures of epsilon at delta, or of delta at epsilon ('at')",
            "how": "python -m tests.enclosures.generate; proofs in the docstrings of that package",
            "arithmetic": f"python-flint {flint.__version__}, FLINT {flint.__FLINT_VERSION__}",
            "date": datetime.date.today().isoformat(),
            "parameters": "every number stands for exactly the double it denotes",
        },
    }
    lines = ",\n".join("  " + json.dumps(case.as_json()) for case in [*cases, *rest])
    head = json.dumps(document, indent=1)[:-2]
    golden.PATH.write_text(head + ',\n "cases": [\n' + lines + "\n ]\n}\n")


if __name__ == "__main__":
    main()
