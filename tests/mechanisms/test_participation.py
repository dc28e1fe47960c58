import pytest

from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    SingleParticipation,
    federated,
    from_dict,
    to_dict,
)

EVERY = [
    SingleParticipation(),
    MinSeparation(342, 6),
    MinSeparation(342),
    FixedEpochOrder(10, 3),
    CyclicPoisson(8, 0.25),
    BallsInBins(100, 4),
]


@pytest.mark.parametrize("participation", EVERY, ids=repr)
def test_a_participation_survives_as_data(participation):
    assert from_dict(to_dict(participation)) == participation
    assert str(participation)


@pytest.mark.parametrize(
    ("participation", "steps", "count", "separation"),
    [
        (SingleParticipation(), 10, 1, 10),
        (MinSeparation(342, 6), 2052, 6, 342),
        (MinSeparation(342, 6), 1000, 3, 342),
        (MinSeparation(5), 11, 3, 5),
        (MinSeparation(50), 11, 1, 11),
        (FixedEpochOrder(4), 12, 3, 4),
        (FixedEpochOrder(4, 2), 12, 2, 4),
        (CyclicPoisson(4, 0.5), 13, 4, 4),
        (BallsInBins(4, 2), 13, 2, 4),
    ],
)
def test_how_often_and_how_far_apart(participation, steps, count, separation):
    assert participation.count(steps) == count
    assert participation.separation(steps) == separation


def test_federated_terms_are_those_of_the_stackoverflow_setting():
    # 342,000 clients, 1,000 a round: nobody is needed twice within 342 rounds.
    assert federated(342_000, 1000, 2052) == MinSeparation(342, 6)
    assert federated(342_000, 1000, 2052, 100) == MinSeparation(100, 21)
    with pytest.raises(ValueError, match="at most 342"):
        federated(342_000, 1000, 2052, 343)
    with pytest.raises(ValueError, match="at most the population"):
        federated(100, 1000, 10)
    assert federated(342_000, 1000, 300, 300) == MinSeparation(300, 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MinSeparation(0), "min_separation must be a whole number >= 1"),
        (lambda: MinSeparation(2.0), "min_separation"),  # type: ignore[arg-type]
        (lambda: MinSeparation(2, 0), "max_participations"),
        (lambda: MinSeparation(True), "min_separation"),
        (lambda: FixedEpochOrder(-1), "epoch_length"),
        (lambda: CyclicPoisson(3, 1.5), "sampling_probability must be within"),
        (lambda: CyclicPoisson(3, 0.0), "above 0"),
        (lambda: CyclicPoisson(3, float("nan")), "sampling_probability"),
        (lambda: BallsInBins(3, 0), "epochs"),
        (lambda: from_dict([]), "mapping"),
        (lambda: from_dict({"participation": "sometimes"}), "one of single"),
        (lambda: from_dict({"participation": "single", "b": 3}), "has no"),
        (lambda: from_dict({"participation": "min_separation"}), "needs min_separation"),
        (lambda: from_dict({"participation": ["single"]}), "one of single"),
    ],
)
def test_nonsense_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
