"""The accuracy assumed of the elementary functions, measured against mpmath.

The rounding bound of the engine allows each call a few units in the last place (docs/engine.md).
What is measured here is what the compiled code calls, not what Python's ``math`` would.
"""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from numba import njit
from scipy import special

RANDOM = 4_000
LIBM_ULPS = 2.0


def compiled(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    inner = njit(function)

    @njit
    def over(values: np.ndarray) -> np.ndarray:
        out = np.empty_like(values)
        for i in range(values.size):
            out[i] = inner(values[i])
        return out

    return over


def ulps(
    found: np.ndarray,
    arguments: np.ndarray,
    exact: Callable[[mpmath.mpf], mpmath.mpf],
    allowed: Callable[[float], float],
) -> tuple[float, float, bool]:
    """The largest error in ulps of the exact result, where it is, and whether all are allowed."""
    worst, where, holds = 0.0, math.nan, True
    with mpmath.workprec(200):
        for x, y in zip(arguments.tolist(), found.tolist(), strict=True):
            truth = exact(mpmath.mpf(x))
            if abs(truth) < mpmath.mpf(2) ** -1022 or abs(truth) >= mpmath.mpf(2) ** 1024:
                continue  # subnormal or overflowing results: errors are absolute there
            error = float(abs(mpmath.mpf(y) - truth) / math.ulp(float(truth)))
            holds = holds and error <= allowed(x)
            if not error <= worst:
                worst, where = error, x
    return worst, where, holds


def log_spread(random: np.random.Generator, low: float, high: float) -> np.ndarray:
    return np.exp(random.uniform(math.log(low), math.log(high), RANDOM))


def signed(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, -values])


def near_one(random: np.random.Generator) -> np.ndarray:
    return 1.0 + signed(log_spread(random, 1e-15, 0.5))


POINTS = np.array([2.0**k for k in range(-60, 9)])
PI_MULTIPLES = np.array([k * math.pi / 4 for k in range(1, 400)])

CASES = {
    "exp": (
        lambda x: math.exp(x),
        mpmath.exp,
        lambda r: np.concatenate([signed(log_spread(r, 1e-20, 700.0)), signed(POINTS)]),
    ),
    "expm1": (
        lambda x: math.expm1(x),
        mpmath.expm1,
        lambda r: np.concatenate([signed(log_spread(r, 1e-300, 700.0)), signed(POINTS)]),
    ),
    "log": (
        lambda x: math.log(x),
        mpmath.log,
        lambda r: np.concatenate([log_spread(r, 1e-300, 1e300), near_one(r), POINTS[POINTS != 1]]),
    ),
    "log1p": (
        lambda x: math.log1p(x),
        mpmath.log1p,
        lambda r: np.concatenate(
            [log_spread(r, 1e-300, 1e300), -log_spread(r, 1e-300, 0.999999), POINTS]
        ),
    ),
    "sin": (
        lambda x: math.sin(x),
        mpmath.sin,
        lambda r: np.concatenate([signed(log_spread(r, 1e-20, 1e15)), PI_MULTIPLES]),
    ),
    "cos": (
        lambda x: math.cos(x),
        mpmath.cos,
        lambda r: np.concatenate([signed(log_spread(r, 1e-20, 1e15)), PI_MULTIPLES]),
    ),
    "sqrt": (lambda x: math.sqrt(x), mpmath.sqrt, lambda r: log_spread(r, 1e-300, 1e300)),
}


@pytest.mark.parametrize("name", CASES)
def test_compiled_elementary_functions_are_within_two_ulps(name: str, seed: int) -> None:
    function, exact, arguments = CASES[name]
    values = arguments(np.random.default_rng(seed))
    worst, where, holds = ulps(compiled(function)(values), values, exact, lambda x: LIBM_ULPS)
    print(f"{name}: {worst:.3f} ulp at {where!r}")
    assert holds


def test_compiled_atan2_is_within_two_ulps(seed: int) -> None:
    random = np.random.default_rng(seed)
    y = signed(log_spread(random, 1e-200, 1e200))
    x = random.permutation(signed(log_spread(random, 1e-200, 1e200)))
    near = random.random(y.size) < 0.5
    x[near] = y[near] * np.exp(random.normal(0.0, 3.0, int(near.sum())))
    x[near] *= random.choice([-1.0, 1.0], int(near.sum()))

    @njit
    def over(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        out = np.empty_like(y)
        for i in range(y.size):
            out[i] = math.atan2(y[i], x[i])
        return out

    worst = 0.0
    with mpmath.workprec(200):
        for a, b, found in zip(y.tolist(), x.tolist(), over(y, x).tolist(), strict=True):
            truth = mpmath.atan2(mpmath.mpf(a), mpmath.mpf(b))
            if abs(truth) > mpmath.mpf(2) ** -1022:
                error = abs(mpmath.mpf(found) - truth) / math.ulp(float(truth))
                worst = max(worst, float(error))
    print(f"atan2: {worst:.3f} ulp")
    assert worst <= LIBM_ULPS


def _erfcx(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.exp(x * x) * mpmath.erfc(x)


def _ndtr(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


# What is allowed, in ulps at x. The normal tails lose x^2 ulps because exp(-x^2/2) does.
SPECIAL = {
    "math.erfc, compiled": (
        compiled(lambda x: math.erfc(x)),
        mpmath.erfc,
        (-6.0, 26.0),
        lambda x: 8.0,
    ),
    "scipy erfc": (special.erfc, mpmath.erfc, (-6.0, 26.0), lambda x: 64.0 + 2.0 * x * x),
    "scipy erfcx": (
        special.erfcx,
        _erfcx,
        (-20.0, 100.0),
        lambda x: 64.0 + 2.0 * min(x, 0.0) ** 2,
    ),
    "scipy ndtr": (special.ndtr, _ndtr, (-37.0, 8.0), lambda x: 64.0 + 2.0 * x * x),
    "scipy log_ndtr": (
        special.log_ndtr,
        lambda x: mpmath.log(_ndtr(x)),
        (-1000.0, 8.0),
        lambda x: 8.0 if x < 1.0 else 64.0,
    ),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions_are_as_accurate_as_assumed(name: str, seed: int) -> None:
    function, exact, (low, high), allowed = SPECIAL[name]
    random = np.random.default_rng(seed)
    values = np.concatenate(
        [
            random.uniform(low, high, RANDOM // 2),
            signed(log_spread(random, 1e-15, min(-low, high)))[:RANDOM],
            np.linspace(low, high, 201),
        ]
    )
    worst, where, holds = ulps(function(values), values, exact, allowed)
    print(f"{name}: {worst:.3f} ulp at {where!r}")
    assert holds
