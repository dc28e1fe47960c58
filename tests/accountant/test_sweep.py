"""A seeded sample of the sweep over random configurations (``python -m tests.sweep``)."""

from tests.sweep import sweep


def test_a_sample_of_random_configurations(seed: int) -> None:
    outcomes = list(sweep(60, seed, enclose_every=3))
    assert [violation for outcome in outcomes for violation in outcome.violations] == []
    assert sum(outcome.enclosed for outcome in outcomes) >= 12
