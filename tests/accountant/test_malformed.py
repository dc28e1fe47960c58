"""Hostile input: refused at once, by a sentence that says what is wrong; never anything else."""

import itertools
import math
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant import PrivacyLoss, UnsupportedEventError, events, privacy_loss
from accountant.parameters import check_nesting, short

ADD_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE = NeighboringRelation.REPLACE_ONE
ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL
MALFORMED = 20_000
GAUSSIAN = dp_event.GaussianDpEvent(1.0)


class Unspeakable:
    """What has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError


# What no field takes.
STRANGERS: tuple[Any, ...] = (
    None,
    "",
    "1",
    b"1",
    math.nan,
    np.float32("nan"),
    -1,
    -1.0,
    -math.inf,
    -5e-324,
    np.int8(-3),
    True,
    False,
    np.True_,
    1j,
    np.complex128(1.0),
    Decimal("0.5"),
    Decimal("NaN"),
    Fraction(1, 2),
    10**400,
    10**5000,
    -(10**5000),
    np.longdouble("1e400") if np.finfo(np.longdouble).max > 1e308 else None,
    np.array(1.0),
    np.ones((2, 2)),
    np.datetime64("2020"),
    ["1", "2"],
    [None],
    [math.nan, 1.0],
    [1j, 2.0],
    [True, False],
    [10**400, 1.0],
    [[1.0], [2.0]],
    [-1.0, 2.0],
    {},
    {1: 2},
    {1.0},
    iter([1.0]),
    slice(1),
    object(),
    Unspeakable(),
    float,
    len,
    ...,
    NotImplemented,
    dp_event.GaussianDpEvent,
    [GAUSSIAN, 1.0],
)
# What only some do.
NOT_A_COUNT = (0.0, 1.0, 2.5, math.inf, np.float64(3.0), 2**53 + 1, 10**30, [3.0], (1.0,))
NOT_A_NUMBER = ([1.0], (1.0,), range(3), 2**53 + 1, 10**30 + 1)
NOT_A_PROBABILITY = (1.0 + 2.0**-52, 2, math.inf, 1e308, *NOT_A_NUMBER)
NOT_NOISE = (1e-101, 1e101, 5e-324, 1e308, *NOT_A_NUMBER)
NOT_AN_EVENT = (0, 1.0, [GAUSSIAN], (GAUSSIAN,))
NOT_EVENTS = (0, 1.0, GAUSSIAN, iter([GAUSSIAN]), (e for e in [GAUSSIAN]), {"a": GAUSSIAN})
NOT_NUMBERS = (0, 1.0, GAUSSIAN, [], (), np.array([]), np.array(["1", "2"]), [2.0, 1.0, 0.5])

# A legal value of every field, and what is none besides the strangers.
Fields = dict[str, tuple[Any, tuple[Any, ...]]]
CLASSES: dict[type[dp_event.DpEvent], Fields] = {
    dp_event.GaussianDpEvent: {"noise_multiplier": (1.0, NOT_NOISE)},
    dp_event.LaplaceDpEvent: {"noise_multiplier": (1.0, NOT_NOISE)},
    dp_event.DiscreteLaplaceDpEvent: {
        "noise_parameter": (0.5, NOT_A_NUMBER),
        "sensitivity": (2, NOT_A_COUNT),
    },
    events.DiscreteGaussianDpEvent: {
        "standard_deviation": (2.0, NOT_NOISE),
        "sensitivity": (1, NOT_A_COUNT),
    },
    dp_event.RandomizedResponseDpEvent: {
        "noise_parameter": (0.5, NOT_A_PROBABILITY),
        "num_buckets": (4, (0, *NOT_A_COUNT)),
    },
    events.ExponentialMechanismDpEvent: {"epsilon": (0.5, NOT_A_NUMBER)},
    events.ApproximateDpEvent: {
        "epsilon": (0.5, NOT_A_NUMBER),
        "delta": (1e-7, NOT_A_PROBABILITY),
    },
    dp_event.ZCDpEvent: {"rho": (0.1, NOT_A_NUMBER), "xi": (0.1, NOT_A_NUMBER)},
    events.RenyiDpEvent: {
        "orders": ([2.0, 4.0], (*NOT_NUMBERS, [1.0, 2.0], [3.0, 2.0], [2.0, math.inf])),
        "divergences": ([0.1, 0.2], (*NOT_NUMBERS, [1.0])),
    },
    dp_event.RepeatAndSelectDpEvent: {
        "event": (GAUSSIAN, NOT_AN_EVENT),
        "mean": (4.0, (0, 0.5, math.inf, *NOT_A_NUMBER)),
        "shape": (1.0, NOT_A_NUMBER),
    },
    dp_event.MixtureOfGaussiansDpEvent: {
        "standard_deviation": (1.0, NOT_NOISE),
        "sensitivities": ([0.0, 1.0], (*NOT_NUMBERS, [1.0, math.inf])),
        "sampling_probs": ([0.9, 0.1], (*NOT_NUMBERS, [0.5, 0.6], [1.5, -0.5], [0.5, 0.4])),
    },
    dp_event.SingleEpochTreeAggregationDpEvent: {
        "noise_multiplier": (1.0, NOT_NOISE),
        "step_counts": (8, ("8", b"8", {}, {8}, {8: 1}, [8, True], [8, -1], *NOT_A_COUNT)),
    },
    events.TreeAggregationDpEvent: {
        "noise_multiplier": (1.0, NOT_NOISE),
        "steps": (16, (2**41, *NOT_A_COUNT)),
        "max_participations": (2, NOT_A_COUNT),
        "min_separation": (4, (0, *NOT_A_COUNT)),
    },
    events.SparsifiedGaussianDpEvent: {
        "noise_multiplier": (1.0, NOT_NOISE),
        "keep_probability": (0.1, NOT_A_PROBABILITY),
        "largest_coordinate": (0.1, (0.0, 1e-300, *NOT_A_PROBABILITY)),
        "dimension": (100, (0, *NOT_A_COUNT)),
    },
    dp_event.PoissonSampledDpEvent: {
        "sampling_probability": (0.1, NOT_A_PROBABILITY),
        "event": (GAUSSIAN, NOT_AN_EVENT),
    },
    dp_event.SampledWithReplacementDpEvent: {
        "source_dataset_size": (1000, (0, *NOT_A_COUNT)),
        "sample_size": (10, NOT_A_COUNT),
        "event": (GAUSSIAN, NOT_AN_EVENT),
    },
    dp_event.SampledWithoutReplacementDpEvent: {
        "source_dataset_size": (1000, (0, 9, *NOT_A_COUNT)),
        "sample_size": (10, (1001, *NOT_A_COUNT)),
        "event": (GAUSSIAN, NOT_AN_EVENT),
    },
    dp_event.TruncatedSubsampledGaussianDpEvent: {
        "dataset_size": (1000, NOT_A_COUNT),
        "sampling_probability": (0.01, NOT_A_PROBABILITY),
        "truncated_batch_size": (16, NOT_A_COUNT),
        "noise_multiplier": (1.0, NOT_NOISE),
    },
    events.CyclicPoissonSampledDpEvent: {
        "steps": (10, NOT_A_COUNT),
        "cycle_length": (2, (0, *NOT_A_COUNT)),
        "sampling_probability": (0.1, NOT_A_PROBABILITY),
        "event": (GAUSSIAN, NOT_AN_EVENT),
    },
    events.RandomAllocationDpEvent: {
        "steps": (10, (0, *NOT_A_COUNT)),
        "event": (GAUSSIAN, NOT_AN_EVENT),
        "selections": (1, (11, *NOT_A_COUNT)),
    },
    events.ShuffledDpEvent: {
        "steps": (10, (0, *NOT_A_COUNT)),
        "event": (GAUSSIAN, NOT_AN_EVENT),
    },
    events.GroupDpEvent: {
        "group_size": (2, (0, *NOT_A_COUNT)),
        "event": (GAUSSIAN, NOT_AN_EVENT),
    },
    dp_event.SelfComposedDpEvent: {
        "event": (GAUSSIAN, NOT_AN_EVENT),
        "count": (3, NOT_A_COUNT),
    },
    dp_event.ComposedDpEvent: {"events": ([GAUSSIAN], NOT_EVENTS)},
}

# Around a malformed event; none of them may hide it, not even one that repeats it never.
WRAPPERS: tuple[Callable[[dp_event.DpEvent], dp_event.DpEvent], ...] = (
    lambda e: e,
    lambda e: dp_event.ComposedDpEvent([GAUSSIAN, e]),
    lambda e: dp_event.ComposedDpEvent((e, dp_event.NonPrivateDpEvent())),
    lambda e: dp_event.SelfComposedDpEvent(e, 0),
    lambda e: dp_event.SelfComposedDpEvent(e, 10**9),
    lambda e: dp_event.PoissonSampledDpEvent(0.0, e),
    lambda e: dp_event.PoissonSampledDpEvent(1.0, e),
    lambda e: dp_event.PoissonSampledDpEvent(0.1, e),
    lambda e: dp_event.SampledWithoutReplacementDpEvent(10, 0, e),
    lambda e: dp_event.RepeatAndSelectDpEvent(e, 3.0, 0.0),
    lambda e: events.CyclicPoissonSampledDpEvent(0, 3, 0.5, e),
    lambda e: events.GroupDpEvent(1, e),
    lambda e: events.ShuffledDpEvent(3, e),
)
# The relation under which a class is defined.
RELATIONS = {
    dp_event.MixtureOfGaussiansDpEvent: (ADD_REMOVE, ZERO_OUT),
    events.RandomAllocationDpEvent: (ADD_REMOVE, ZERO_OUT),
}


def legal(cls: type[dp_event.DpEvent]) -> dict[str, Any]:
    return {name: value for name, (value, _) in CLASSES[cls].items()}


def expected_words(cls: type[dp_event.DpEvent], field: str) -> str:
    # a part that is no event is named by the type that it has
    return "DpEvent" if field in ("event", "events") else field


def accepts(cls: type[dp_event.DpEvent], field: str, stranger: Any) -> bool:
    """The few strangers that one field knows."""
    lists = {"events": "events", "step_counts": "step_counts"}
    return field in lists and isinstance(stranger, list) and not stranger


def malformed() -> Iterator[tuple[type[dp_event.DpEvent], str, dp_event.DpEvent]]:
    """Every field with everything that it does not take."""
    for cls, fields in CLASSES.items():
        for field, (_, wrong) in fields.items():
            for value in (*STRANGERS, *wrong):
                yield cls, field, cls(**{**legal(cls), field: value})


def refusal(event: Any, relation: Any) -> str:
    """The sentence by which an event is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = privacy_loss(event, relation)
        except (ValueError, TypeError) as refused:
            sentence = str(refused)
    if "sentence" not in locals():
        raise AssertionError(f"accepted as {found}")
    assert 20 <= len(sentence) <= 400, sentence
    return sentence


def test_legal_values_are_priced() -> None:
    for cls in CLASSES:
        assert isinstance(privacy_loss(cls(**legal(cls)), ZERO_OUT), PrivacyLoss)


def test_every_malformed_field_is_named() -> None:
    count = 0
    for cls, field, event in malformed():
        for relation in RELATIONS.get(cls, (ZERO_OUT, REPLACE)):
            sentence = refusal(event, relation)
            assert expected_words(cls, field) in sentence, (cls, field, sentence)
            count += 1
    assert count > 4000


def test_malformed_events_are_refused_wherever_they_hide(seed: int) -> None:
    draw = random.Random(seed)
    cases = list(malformed())
    for _ in range(MALFORMED):
        _, _, event = draw.choice(cases)
        for _ in range(draw.randint(1, 3)):
            event = draw.choice(WRAPPERS)(event)
        refusal(event, draw.choice([ADD_REMOVE, REPLACE, ZERO_OUT]))


# --- nesting --------------------------------------------------------------------------------------


def chain(wrap: Callable[[dp_event.DpEvent], dp_event.DpEvent], depth: int) -> dp_event.DpEvent:
    event: dp_event.DpEvent = GAUSSIAN
    for _ in range(depth):
        event = wrap(event)
    return event


def one(event: dp_event.DpEvent) -> dp_event.DpEvent:
    return dp_event.ComposedDpEvent([event])


@pytest.mark.parametrize(
    "wrap",
    [
        one,
        lambda e: dp_event.ComposedDpEvent((e, GAUSSIAN)),
        lambda e: dp_event.SelfComposedDpEvent(e, 1),
        lambda e: dp_event.SelfComposedDpEvent(one(e), 1),
        lambda e: dp_event.PoissonSampledDpEvent(0.9, e),
        lambda e: events.GroupDpEvent(1, e),
        lambda e: dp_event.RepeatAndSelectDpEvent(one(e), 2.0, 1.0),
        lambda e: dp_event.SampledWithoutReplacementDpEvent(10, 10, e),
    ],
)
def test_deep_nesting_is_refused(wrap: Any) -> None:
    for depth in (60, 10_000):
        assert "nested at most 60 deep" in refusal(chain(wrap, depth), ZERO_OUT)


def test_nesting_that_is_deep_enough_is_priced() -> None:
    deep = chain(one, 59)
    assert privacy_loss(deep) == privacy_loss(GAUSSIAN)
    check_nesting(chain(lambda e: dp_event.SelfComposedDpEvent(e, 1), 59))


def test_events_that_contain_themselves_are_refused() -> None:
    loop = dp_event.ComposedDpEvent([])
    loop.events.append(loop)
    long = dp_event.ComposedDpEvent([GAUSSIAN])
    long.events.append(dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(0.1, long), 2))
    for event in (loop, long, dp_event.SelfComposedDpEvent(loop, 0), one(long)):
        assert "contain themselves" in refusal(event, ADD_REMOVE)
        assert "contain themselves" in refusal(event, REPLACE)


def test_events_that_unfold_without_end_are_refused() -> None:
    doubled = chain(lambda e: dp_event.ComposedDpEvent([e, e]), 50)
    for event in (doubled, dp_event.PoissonSampledDpEvent(0.1, doubled), one(doubled)):
        assert "SelfComposedDpEvent" in refusal(event, ADD_REMOVE)
    few = chain(lambda e: dp_event.ComposedDpEvent([e, e]), 6)
    assert privacy_loss(few) == 64 * privacy_loss(GAUSSIAN)


def test_compositions_are_gone_through_more_than_once() -> None:
    # a generator would be empty the second time: what is sampled would go unchecked
    parts = (e for e in [dp_event.RandomizedResponseDpEvent(0.5, 2)])
    inner = dp_event.ComposedDpEvent(parts)
    assert "events must be" in refusal(dp_event.PoissonSampledDpEvent(0.1, inner), ZERO_OUT)


def test_counts_that_multiply_stay_bounded() -> None:
    often = chain(lambda e: dp_event.SelfComposedDpEvent(e, 2**53), 30)
    assert "2^53" in refusal(often, ADD_REMOVE)
    loss = privacy_loss(dp_event.SelfComposedDpEvent(GAUSSIAN, 2**53))
    with pytest.raises(ValueError, match=r"2\^53"):
        2 * loss
    with pytest.raises(ValueError, match=r"2\^53"):
        loss + loss


def test_values_are_shown_briefly() -> None:
    doubled = chain(lambda e: dp_event.ComposedDpEvent([e, e]), 50)
    for value in (10**5000, Unspeakable(), doubled, [doubled] * 9, "x" * 10**6, np.zeros(10**6)):
        assert 3 <= len(short(value)) <= 80
    assert short(GAUSSIAN) == "GaussianDpEvent(noise_multiplier=1.0)"
    assert short(-0.5) == "-0.5"
    assert short("a") == "'a'"
    assert short(12345) == "12345"


# --- relations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "relation", "instead"),
    [
        (dp_event.RandomizedResponseDpEvent(0.5, 4), ADD_REMOVE, "REPLACE_ONE"),
        (dp_event.SingleEpochTreeAggregationDpEvent(1.0, 8), ADD_REMOVE, "zero it out"),
        (events.TreeAggregationDpEvent(1.0, 8), ADD_REMOVE, "zero it out"),
        (events.ShuffledDpEvent(8, GAUSSIAN), ADD_REMOVE, "zero it out"),
        (events.RandomAllocationDpEvent(8, GAUSSIAN), REPLACE, "ADD_OR_REMOVE_ONE"),
        (
            dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.5]),
            REPLACE,
            "ADD_OR_REMOVE_ONE",
        ),
        (
            events.GroupDpEvent(2, dp_event.PoissonSampledDpEvent(0.1, GAUSSIAN)),
            REPLACE,
            "ADD_OR_REMOVE_ONE",
        ),
    ],
)
def test_a_mechanism_that_a_relation_does_not_define_is_refused(
    event: dp_event.DpEvent, relation: Any, instead: str
) -> None:
    with pytest.raises(UnsupportedEventError, match=instead) as refused:
        privacy_loss(event, relation)
    assert relation.name in str(refused.value)


@pytest.mark.parametrize("relation", [None, 1, "REPLACE_ONE", ADD_REMOVE.value, Unspeakable])
def test_relations_are_relations(relation: Any) -> None:
    assert "NeighboringRelation" in refusal(GAUSSIAN, relation)


@pytest.mark.parametrize("event", [None, 1.0, "Gaussian", [GAUSSIAN], dp_event.GaussianDpEvent])
def test_events_are_events(event: Any) -> None:
    assert "DpEvent" in refusal(event, ADD_REMOVE)


def test_classes_without_a_rule_are_refused_by_name() -> None:
    class Derived(dp_event.GaussianDpEvent):
        pass

    for event in (dp_event.DpEvent(), dp_event.UnsupportedDpEvent(), Derived(1.0)):
        with pytest.raises(UnsupportedEventError, match=type(event).__name__):
            privacy_loss(event)


# --- queries --------------------------------------------------------------------------------------

LOSSES = [
    privacy_loss(dp_event.NoOpDpEvent()),
    privacy_loss(dp_event.NonPrivateDpEvent()),
    *(privacy_loss(cls(**legal(cls)), ZERO_OUT) for cls in CLASSES),
    privacy_loss(events.ApproximateDpEvent(0.0, 0.3)),
]
NOT_A_QUERY: tuple[Any, ...] = (
    None,
    "",
    "1",
    b"1",
    math.nan,
    -1,
    -5e-324,
    -math.inf,
    True,
    1j,
    Decimal("NaN"),
    Fraction(-1, 2),
    10**400,
    10**5000,
    np.longdouble("1e400") if np.finfo(np.longdouble).max > 1e308 else None,
    np.float32("nan"),
    np.array("x"),
    np.array(["1"], dtype=object),
    np.array([math.nan, 1.5, 1.5, 1.5]),
    np.array([-1.0, 1.5, 1.5, 1.5]),
    ["a"],
    [None],
    [True],
    [1j],
    [[1.5], [1.5, 1.5]],
    {},
    {1.5},
    {1: 2},
    slice(1),
    np.datetime64("2020"),
    Unspeakable(),
    float,
    GAUSSIAN,
)


def names(call: Callable[[], Any], word: str) -> None:
    """A query is refused by a sentence with this word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=word) as refused:
            call()
    assert len(str(refused.value)) <= 300


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: "")
def test_malformed_queries_are_refused(loss: PrivacyLoss) -> None:
    for value in NOT_A_QUERY:
        names(lambda: loss.epsilon(value), "delta")  # noqa: B023
        names(lambda: loss.delta_bounds(value), "epsilon")  # noqa: B023
        names(lambda: loss.fnr(value), "fpr")  # noqa: B023
        names(lambda: loss.renyi(value), "alpha")  # noqa: B023
    for value in (1.0 + 2.0**-52, math.inf, 2):
        names(lambda: loss.fnr(value), "fpr")  # noqa: B023
    for value in (1.0, 1, 0.5, 0, math.inf, [2.0, 1.0]):
        names(lambda: loss.renyi(value), "alpha")  # noqa: B023
    for value in ("x", "ADD", b"add", 1, True, math.nan, ["add"], np.array(["add", "x"])):
        for query, at in itertools.product(("epsilon", "delta", "fnr", "renyi"), (0.5, [])):
            argument = 2.0 if query == "renyi" else at
            names(lambda: getattr(loss, query)(argument, value), "direction")  # noqa: B023
    for value in ("x", b"1", -1.0, 0.0, 2.0, math.nan, 1j, [0.1], np.array([0.1, 0.2])):
        names(lambda: loss.epsilon(0.1, rtol=value), "rtol")  # noqa: B023
        names(lambda: loss.delta(0.1, rtol=value), "rtol")  # noqa: B023
    for value in (-1, True, 10**400, 2**53 + 1):
        names(lambda: value * loss, "repetitions")  # noqa: B023
    for value in (1.0, math.nan, "2", None, Fraction(2)):
        with pytest.raises(TypeError):
            value * loss


# --- extreme but legal ----------------------------------------------------------------------------


def sound(loss: PrivacyLoss, delta: float, epsilon: float) -> None:
    """Whatever the width: bounds, ordered, and no NaN, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = loss.epsilon_bounds(delta)
        assert 0.0 <= low <= high
        low, high = loss.delta_bounds(epsilon)
        assert 0.0 <= low <= high <= 1.0
        assert loss.renyi(2.0) >= 0.0


EXTREMES: tuple[dp_event.DpEvent, ...] = (
    dp_event.GaussianDpEvent(1e-100),
    dp_event.GaussianDpEvent(1e-3),
    dp_event.GaussianDpEvent(1e100),
    dp_event.LaplaceDpEvent(1e-100),
    dp_event.LaplaceDpEvent(1e-3),
    dp_event.LaplaceDpEvent(1e100),
    dp_event.DiscreteLaplaceDpEvent(5e-324, 1),
    dp_event.DiscreteLaplaceDpEvent(300.0, 1),
    events.DiscreteGaussianDpEvent(0.06, 1),
    events.DiscreteGaussianDpEvent(1000.0, 10),
    dp_event.RandomizedResponseDpEvent(5e-324, 2),
    dp_event.RandomizedResponseDpEvent(1.0 - 2.0**-53, 2**53),
    events.ExponentialMechanismDpEvent(5e-324),
    events.ExponentialMechanismDpEvent(700.0),
    events.ApproximateDpEvent(700.0, 5e-324),
    events.ApproximateDpEvent(5e-324, 1.0 - 2.0**-53),
    dp_event.ZCDpEvent(5e-324),
    dp_event.RepeatAndSelectDpEvent(GAUSSIAN, 1e300, 0.0),
    dp_event.RepeatAndSelectDpEvent(GAUSSIAN, 5e-324, math.inf),
    dp_event.PoissonSampledDpEvent(1e-12, dp_event.GaussianDpEvent(1e-3)),
    dp_event.PoissonSampledDpEvent(1e-12, GAUSSIAN),
    dp_event.PoissonSampledDpEvent(1e-12, dp_event.LaplaceDpEvent(1e-3)),
    dp_event.PoissonSampledDpEvent(5e-324, GAUSSIAN),
    dp_event.PoissonSampledDpEvent(5e-324, dp_event.DiscreteLaplaceDpEvent(1.0, 1)),
    dp_event.SampledWithoutReplacementDpEvent(2**53, 1, GAUSSIAN),
    dp_event.SampledWithReplacementDpEvent(2**53, 1, GAUSSIAN),
    dp_event.TruncatedSubsampledGaussianDpEvent(2**53, 1e-12, 10_000, 1.0),
    dp_event.TruncatedSubsampledGaussianDpEvent(10**15, 1e-15, 1, 1.0),
    events.CyclicPoissonSampledDpEvent(2**53, 2**53, 1e-12, GAUSSIAN),
    events.TreeAggregationDpEvent(1.0, 2**40),
    dp_event.SingleEpochTreeAggregationDpEvent(1.0, [2**53, 1]),
    events.GroupDpEvent(2**53, GAUSSIAN),
    events.SparsifiedGaussianDpEvent(1e-3, 1e-12, 1e-3, 10**15),
)


@pytest.mark.parametrize("event", EXTREMES, ids=lambda event: short(event)[:60])
def test_extreme_values_get_bounds(event: dp_event.DpEvent) -> None:
    loss = privacy_loss(event, ZERO_OUT)
    sound(loss, 1e-300, 1.0)
    sound(loss, 0.999, 1e6)
    sound(loss, 0.0, 0.0)


@pytest.mark.parametrize("count", [10**9, 10**15])
def test_extreme_counts_get_bounds(count: int) -> None:
    for event in (
        GAUSSIAN,
        dp_event.LaplaceDpEvent(1e7),
        dp_event.DiscreteLaplaceDpEvent(1e-6, 1),
        dp_event.PoissonSampledDpEvent(1e-12, dp_event.LaplaceDpEvent(1.0)),
        events.ApproximateDpEvent(1e-6, 1e-18),
        dp_event.ZCDpEvent(1e-12),
    ):
        sound(count * privacy_loss(event), 1e-6, 1.0)


def test_integers_are_printed_whatever_python_limits() -> None:
    limit = sys.get_int_max_str_digits()
    assert 0 < limit < 5000, "the values above are chosen for the default limit"
