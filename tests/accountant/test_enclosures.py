"""The accountant against rigorous enclosures, and the enclosures against each other."""

import math

import pytest
from flint import arb, ctx

from accountant import privacy_loss
from tests.enclosures import golden, truth
from tests.enclosures.closed_forms import closed_form
from tests.enclosures.convolution import convolved
from tests.enclosures.golden import Case
from tests.enclosures.inversion import invert
from tests.enclosures.lattice import discretised
from tests.enclosures.pairs import (
    DIRECTIONS,
    Direction,
    compose,
    gaussian,
    laplace,
    mixture,
    poisson_gaussian,
    width,
)

CASES = golden.load()
EPSILON_CASES = [case for case in CASES if case.query == "epsilon"]
DELTA_CASES = [case for case in CASES if case.query == "delta"]


def spread(a: arb, b: arb) -> float:
    """Width of both enclosures together; at 53 bits their union would round."""
    with ctx.workprec(256):
        return float(width(a.union(b)))


# --- the enclosures agree with each other ----------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_inversion_and_integration_agree_to_twenty_digits(direction: Direction) -> None:
    composition = compose(
        (poisson_gaussian(0.3, 1.0), 1), (poisson_gaussian(0.1, 2.0), 1), direction=direction
    )
    integral, inverted = convolved(composition, 0.1, 25), invert(composition, 0.1)[0]
    assert integral.overlaps(inverted)
    assert spread(integral, inverted) < 1e-19


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_inversion_and_integration_agree_on_laplace(direction: Direction) -> None:
    composition = compose((laplace(2.0), 1), (gaussian(3.0), 4), direction=direction)
    integral, inverted = convolved(composition, 0.7, 25), invert(composition, 0.7)[0]
    assert integral.overlaps(inverted)
    assert spread(integral, inverted) < 1e-19


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_inversion_and_closed_form_agree_on_gaussians(direction: Direction) -> None:
    composition = compose((gaussian(5.0), 7), (gaussian(2.0), 1), direction=direction)
    exact, inverted = closed_form(composition, 1.5), invert(composition, 1.5)[0]
    assert exact.overlaps(inverted)
    assert spread(exact, inverted) < 1e-19


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_mixture_of_equal_parts_is_one_gaussian(direction: Direction) -> None:
    # one component, written as a mixture whose second center is almost the same
    single = compose((gaussian(2.0), 1), direction=direction)
    double = compose((mixture(2.0, [1.0, 1.0 + 2.0**-40], [0.5, 0.5]), 1), direction=direction)
    difference = closed_form(single, 0.5) - closed_form(double, 0.5)
    assert abs(difference) < 1e-12


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("q", "sigma", "steps", "epsilon"),
    [(0.2, 1.0, 2, 0.1), (0.2, 1.0, 5, 0.2), (0.05, 0.7, 30, 0.1)],
)
def test_the_lattice_brackets_the_other_methods(
    direction: Direction, q: float, sigma: float, steps: int, epsilon: float
) -> None:
    composition = compose((poisson_gaussian(q, sigma), steps), direction=direction)
    coarse = discretised(composition, epsilon, points=400)
    fine = truth.delta(composition, epsilon)
    assert coarse.contains(fine)
    assert width(coarse) < 0.05


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in EPSILON_CASES
        if case.terms in ((["poisson", 0.01, 1.0, 1000],), (["poisson", 0.001, 0.8, 50000],))
    ],
    ids=lambda case: case.name,
)
def test_stored_enclosures_are_reproduced(case: Case) -> None:
    low, high = truth.deltas(case.composition, [case.low, case.high], digits=17)
    assert low >= arb(case.argument) >= high


def test_stored_enclosures_are_narrow() -> None:
    assert len(EPSILON_CASES) >= 40
    assert len(DELTA_CASES) >= 60
    for case in EPSILON_CASES:
        assert case.high - case.low <= 1e-12 * case.high, case.name


# --- the accountant ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", EPSILON_CASES, ids=lambda case: case.name)
def test_epsilon_brackets_the_truth(case: Case) -> None:
    loss = privacy_loss(case.event)
    assert case.direction in ("add", "remove")
    bounds = loss.epsilon_bounds(case.argument, case.direction)
    assert bounds.lower <= case.high
    assert bounds.upper >= case.low
    if bounds.tight:
        assert bounds.upper - bounds.lower <= 1e-6 * bounds.upper


@pytest.mark.parametrize("case", EPSILON_CASES, ids=lambda case: case.name)
def test_delta_at_the_true_epsilon_brackets_the_target(case: Case) -> None:
    loss = privacy_loss(case.event)
    assert loss.delta_bounds(case.low, case.direction).upper >= case.argument
    assert loss.delta_bounds(case.high, case.direction).lower <= case.argument


@pytest.mark.parametrize("case", DELTA_CASES, ids=lambda case: case.name)
def test_delta_brackets_the_truth(case: Case) -> None:
    bounds = privacy_loss(case.event).delta_bounds(case.argument, case.direction)
    assert bounds.lower <= case.high
    assert bounds.upper >= case.low


@pytest.mark.parametrize(
    "case", [case for case in DELTA_CASES if case.low > 0], ids=lambda case: case.name
)
def test_epsilon_at_the_true_delta_brackets_the_argument(case: Case) -> None:
    # delta(argument) lies in [low, high] and epsilon decreases with delta
    loss = privacy_loss(case.event)
    assert loss.epsilon_bounds(case.low, case.direction).upper >= case.argument
    assert loss.epsilon_bounds(case.high, case.direction).lower <= case.argument


@pytest.mark.parametrize(
    "case", [case for case in DELTA_CASES if case.argument == 0.0], ids=lambda case: case.name
)
def test_epsilon_vanishes_exactly_from_delta_of_zero_on(case: Case) -> None:
    loss = privacy_loss(case.event)
    above = loss.epsilon_bounds(min(case.high * 1.01, 0.999), case.direction)
    assert above.lower == 0.0
    assert loss.epsilon_bounds(case.low * 0.99, case.direction).upper > 0.0
    if above.tight:
        assert above.upper == 0.0


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "delta"),
    [
        (0.01, 1.0, 1_000, 1e-5),
        (256 / 60_000, 1.1, 14_062, 1e-5),
        (0.05, 0.5, 10_000, 1e-6),
        (0.001, 0.8, 50_000, 1e-10),
        (2e-4, 0.6, 100_000, 1e-10),
        (1e-4, 0.5, 100_000, 1e-11),
        (0.001, 0.8, 50_000, 1e-12),
        (0.001, 0.8, 50_000, 1e-15),
        (0.001, 0.8, 50_000, 1e-20),
        (0.001, 0.8, 50_000, 1e-40),
    ],
)
def test_the_table_of_reference_configurations_is_met_to_nine_digits(
    q: float, sigma: float, steps: int, delta: float
) -> None:
    (case,) = (
        case
        for case in EPSILON_CASES
        if case.terms == (["poisson", q, sigma, steps],)
        and case.argument == delta
        and case.direction == "remove"
    )
    bounds = privacy_loss(case.event).epsilon_bounds(delta)
    assert bounds.tight
    assert bounds.lower <= case.high
    assert case.low <= bounds.upper
    assert bounds.upper - bounds.lower <= 1e-9 * case.low
    assert math.isclose(bounds.upper, case.low, rel_tol=1e-9)


@pytest.mark.parametrize("q", [4.08e-5, 4e-5, 517_989 / 9.6e9, 517_989 / 1.27e10])
def test_vaultgemma_is_met(q: float) -> None:
    (case,) = (
        case
        for case in EPSILON_CASES
        if case.terms == (["poisson", q, 0.614, 100_000],) and case.direction == "remove"
    )
    bounds = privacy_loss(case.event).epsilon_bounds(1.1e-10)
    assert bounds.tight
    assert bounds.lower <= case.high
    assert case.low <= bounds.upper <= case.low * (1 + 1e-6)
