import numpy as np
import pytest

from mechanisms import workloads
from mechanisms.rate_schedules import constant_rate, cooldown_rate, cosine_rate, linear_decay_rate
from mechanisms.workloads import from_matrix, learning_rates, momentum, prefix_sum, toeplitz

EVERY = [
    prefix_sum(7),
    momentum(7, 0.9),
    momentum(7, 0.0, 0.1),
    momentum(7, 0.9, 0.05),
    momentum(7, 0.9, 0.1),  # both poles the same
    learning_rates(cosine_rate(7), 0.9, 0.01),
    learning_rates(cooldown_rate(7, 3)),
    toeplitz([1.0, -2.0, 0.5, 0.0, 0.0, 3.0, 1.0]),
    from_matrix(np.tril(np.arange(1.0, 50.0).reshape(7, 7))),
]


@pytest.mark.parametrize("workload", EVERY, ids=repr)
def test_every_view_of_a_workload_is_the_same_matrix(workload):
    matrix = workload.matrix()
    x = np.random.default_rng(0).normal(size=(7, 2, 3))
    assert np.allclose(workload.apply(x), np.einsum("ij,jkl->ikl", matrix, x))
    assert np.allclose(workload.apply_transpose(x), np.einsum("ji,jkl->ikl", matrix, x))
    assert np.allclose(workload.apply(x[:, 0, 0]), matrix @ x[:, 0, 0])
    if workload.coefficients is not None:
        assert np.allclose(workload.coefficients, matrix[:, 0])
    if workload.poles is not None:
        powers = sum(w * p ** np.arange(7) for p, w in workload.poles)
        assert np.allclose(powers, matrix[:, 0])
    assert hash(workload) == hash(workload)
    with pytest.raises(AttributeError, match="does not change"):
        workload.steps = 3
    with pytest.raises(ValueError, match="7 rows"):
        workload.apply(np.ones(6))


def test_a_workload_is_what_the_optimizer_does():
    rng = np.random.default_rng(5)
    gradients = rng.normal(size=(20, 3))
    rates, beta, decay = linear_decay_rate(20), 0.9, 0.02
    velocity, model, models = np.zeros(3), np.zeros(3), []
    for gradient, rate in zip(gradients, rates, strict=True):
        velocity = beta * velocity + gradient
        model = (1 - decay) * model + rate * velocity
        models.append(model)
    assert np.allclose(learning_rates(rates, beta, decay).apply(gradients), models)
    steady = learning_rates(constant_rate(20), beta, decay)
    assert np.allclose(momentum(20, beta, decay).apply(gradients), steady.apply(gradients))


def test_rates_start_at_one_and_end_where_they_should():
    for rates in (cosine_rate(11, 0.1), linear_decay_rate(11, 0.1), cooldown_rate(11, 4, 0.1)):
        assert rates[0] == pytest.approx(1.0)
        assert rates[-1] == pytest.approx(0.1)
        assert np.all(np.diff(rates) <= 1e-15)
    assert np.all(cooldown_rate(11, 4, 0.1)[:7] == 1.0)
    assert np.all(cooldown_rate(11, 4, 0.1)[7:] < 1.0)
    assert cosine_rate(11, 0.1)[5] == pytest.approx(0.55)


def test_a_run_of_a_billion_steps_has_no_matrix_and_no_coefficients():
    long = prefix_sum(10**9)
    assert long.poles == ((1.0, 1.0),)
    with pytest.raises(ValueError, match="too many to hold"):
        _ = long.coefficients
    with pytest.raises(ValueError, match="too large to form"):
        long.matrix()
    assert prefix_sum(10**9) == long != prefix_sum(10**9 - 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: prefix_sum(0), "steps must be a whole number >= 1"),
        (lambda: prefix_sum(2.5), "steps must be a whole number"),  # type: ignore[arg-type]
        (lambda: prefix_sum(True), "steps must be a whole number"),
        (lambda: momentum(5, 1.0), r"beta must be within \[0, 1\)"),
        (lambda: momentum(5, float("nan")), "beta must be"),
        (lambda: momentum(5, 0.5, -0.1), "weight_decay must be"),
        (lambda: learning_rates([1.0, 0.0]), "rates must be above 0"),
        (lambda: learning_rates([]), "1 to"),
        (lambda: learning_rates(["1", "2"]), "rates must be an array of numbers"),
        (lambda: learning_rates([True, True]), "rates must be an array of numbers"),
        (lambda: toeplitz([0.0, 1.0]), "must not start with 0"),
        (lambda: toeplitz([1.0, float("inf")]), "finite"),
        (lambda: toeplitz([[1.0]]), "one dimension"),
        (lambda: from_matrix([[1.0, 2.0], [0.0, 1.0]]), "lower triangular"),
        (lambda: from_matrix([[1.0, 0.0], [1.0, 0.0]]), "no 0 on its diagonal"),
        (lambda: from_matrix([[1.0, 0.0]]), "square"),
        (lambda: from_matrix("nonsense"), "array of numbers"),
        (lambda: from_matrix([[float("nan")]]), "finite"),
        (lambda: cosine_rate(5, 0.0), r"final must be within \(0, 1\]"),
        (lambda: cooldown_rate(5, 6), "at most the 5 steps"),
    ],
)
def test_nonsense_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_nearby_poles_keep_their_digits():
    near = momentum(2000, 0.9, 0.1 - 1e-9)
    exact = [t * 0 + 0.9**t * (t + 1) for t in range(2000)]
    assert near.poles is None
    assert np.allclose(near.coefficients[:100], exact[:100], rtol=1e-6)
    assert workloads.momentum(10**6, 0.9, 0.05).poles is not None
