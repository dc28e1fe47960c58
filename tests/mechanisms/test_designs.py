"""Designs by name, what suits a run, and workloads in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanisms import BallsInBins, CyclicPoisson, FixedEpochOrder, MinSeparation
from mechanisms import SingleParticipation as Single
from mechanisms.designs import DESIGNS, Design, Run, parse, parse_workload, suitable
from mechanisms.rate_schedules import cooldown_rate, cosine_rate, linear_decay_rate
from mechanisms.strategies import Strategy
from mechanisms.workloads import learning_rates, momentum, prefix_sum

SHORT = Run(24, MinSeparation(8, 3))
NAMES = [kind if known.sized is None else f"{kind}:3" for kind, known in DESIGNS.items()]


def names(designs):
    return {str(design) for design in designs}


# -- designs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_is_written(name):
    design = parse(f" {name} ")
    assert str(design) == name
    assert design == Design(design.kind, design.size)
    assert DESIGNS[design.kind].title in design.title


@pytest.mark.parametrize("name", NAMES)
def test_a_design_becomes_a_strategy_that_keeps_what_was_said(name):
    design = parse(name)
    strategy = design.make(SHORT)
    assert isinstance(strategy, Strategy)
    assert strategy.steps == SHORT.steps
    assert strategy.memory == design.memory(SHORT)
    # What is kept is what the noise keeps.
    assert strategy.noise(10, rng=0).nbytes == 8 * 10 * strategy.memory


def test_titles():
    assert parse("blt:1").title == "BLT, 1 buffer"
    assert parse("toeplitz:64").title == "banded Toeplitz, 64 bands"
    assert parse("dense").title == "dense"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("magic", "a design must be one of identity, tree,"),
        ("", "a design must be one of"),
        ("blt", "blt needs its buffers, as in blt:4"),
        ("toeplitz", "toeplitz needs its bands, as in toeplitz:4"),
        ("blt:four", "blt needs its buffers"),
        ("blt:-4", "blt needs its buffers"),
        ("blt:4.0", "blt needs its buffers"),
        ("blt:0", "buffers must be a whole number >= 1"),
        ("tree:4", "tree has no size"),
        ("tree:x", "must read like tree or blt:4"),
        ("blt:" + "9" * 50, "must read like tree or blt:4"),
        (None, "must be a name"),
        (4, "must be a name"),
    ],
)
def test_what_is_no_name_is_refused(name, says):
    with pytest.raises(ValueError, match=says):
        parse(name)


@given(st.text(max_size=20))
def test_any_text_is_a_design_or_refused(text):
    try:
        assert str(parse(text)) in text
    except ValueError:
        assert text.strip() not in NAMES


@pytest.mark.parametrize(
    ("kind", "size", "says"),
    [
        (["tree"], 0, "a design must be one of"),
        (None, 0, "a design must be one of"),
        ("tree", 2, "tree has no size"),
        ("blt", True, "buffers must be a whole number"),
        ("blt", 2.0, "buffers must be a whole number"),
        ("blt", "2", "buffers must be a whole number"),
    ],
)
def test_what_is_no_design_is_refused(kind, size, says):
    with pytest.raises(ValueError, match=says):
        Design(kind, size)


@pytest.mark.parametrize(
    ("name", "run", "says"),
    [
        ("toeplitz:25", SHORT, "25 bands are more than the 24 steps"),
        ("banded:25", SHORT, "25 bands are more than the 24 steps"),
        ("blt:11", SHORT, "at most 10 buffers"),
        ("dense", Run(5000), "at most 1024 steps, not for 5000"),
        ("banded:4", Run(5000), "at most 2048 steps"),
        ("square-root", Run(10**8), "at most 10000000 steps"),
        ("toeplitz:4", Run(10**8), "at most 10000000 steps"),
    ],
)
def test_what_does_not_fit_a_run_is_refused(name, run, says):
    with pytest.raises(ValueError, match=says):
        parse(name).make(run)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"steps": 0}, "steps must be a whole number >= 1"),
        ({"steps": 10.0}, "steps must be a whole number"),
        ({"steps": 10, "objective": "median"}, 'objective must be "mean" or "max"'),
        ({"steps": 10, "participation": "single"}, "participation must be one of"),
        ({"steps": 10, "workload": "prefix"}, "workload must be one of"),
        ({"steps": 10, "workload": prefix_sum(11)}, "the workload has 11 steps and the run 10"),
    ],
)
def test_what_is_no_run_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Run(**given)


# -- what suits ------------------------------------------------------------------------------------


def test_what_suits_a_run():
    found = suitable(SHORT)
    assert found[0] == Design("identity")
    assert len(set(found)) == len(found)
    assert {design.kind for design in found} == set(DESIGNS) - {"bsr"}
    # No more bands than steps between participations, and all of them.
    assert max(design.size for design in found if design.kind == "toeplitz") == 8
    assert names(suitable(SHORT, 2)) == {
        *("identity", "blt:1", "blt:2", "toeplitz:2", "bisr:2", "banded:2", "dense")
    }
    assert all(design.memory(SHORT) <= 2 for design in suitable(SHORT, 2))
    with pytest.raises(ValueError, match="memory must be a whole number"):
        suitable(SHORT, -1)


def test_prefix_sums_are_the_same_however_they_are_said():
    assert suitable(Run(24, MinSeparation(8, 3), parse_workload("prefix", 24))) == suitable(SHORT)
    other = names(suitable(Run(24, MinSeparation(8, 3), momentum(24, 0.9))))
    # Square roots are those of prefix sums.
    assert not {name for name in other if name.startswith(("square-root", "bisr"))}


def test_long_runs_have_what_needs_no_matrix_and_no_column():
    assert not {"dense", "square-root", "banded"} & {d.kind for d in suitable(Run(10**5))}
    kinds = {design.kind for design in suitable(Run(10**9))}
    assert kinds == {"identity", "tree", "tree-online", "prefix-tree", "blt"}


@pytest.mark.parametrize(
    "participation",
    [
        Single(),
        MinSeparation(3),
        MinSeparation(5, 2),
        FixedEpochOrder(6),
        CyclicPoisson(4, 0.1),
        BallsInBins(6, 4),
    ],
)
def test_all_that_suits_a_run_has_a_sensitivity_for_it(participation):
    run = Run(24, participation)
    for design in suitable(run):
        if design.kind in ("identity", "toeplitz", "blt", "bisr", "tree"):
            assert design.make(run).sensitivity(participation) > 0


# -- workloads in words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prefix", prefix_sum(20)),
        ("momentum=0.9", momentum(20, 0.9)),
        ("weight_decay=0.01", momentum(20, 0.0, 0.01)),
        (" momentum = 0.9 , weight_decay=0.01", momentum(20, 0.9, 0.01)),
        ("cosine", learning_rates(cosine_rate(20))),
        ("linear,final=0.5", learning_rates(linear_decay_rate(20, 0.5))),
        ("momentum=0.9,cosine", learning_rates(cosine_rate(20), 0.9)),
        ("cooldown=0.2", learning_rates(cooldown_rate(20, 4))),
        ("cooldown=0.01", learning_rates(cooldown_rate(20, 1))),
        ("cooldown=1,momentum=.5", learning_rates(cooldown_rate(20, 20), 0.5)),
    ],
)
def test_workloads_in_words(text, expected):
    assert parse_workload(text, 20) == expected


def test_words_mean_what_the_run_does():
    # A run of SGD with momentum, weight decay and a cosine, step by step.
    steps = 12
    found = parse_workload("cosine,momentum=0.8,weight_decay=0.1,final=0.2", steps)
    gradients = np.random.default_rng(0).normal(size=steps)
    velocity = model = 0.0
    held = []
    for t in range(steps):
        rate = 0.2 + 0.8 * 0.5 * (1 + np.cos(np.pi * t / (steps - 1)))
        velocity = 0.8 * velocity + gradients[t]
        model = 0.9 * model + rate * velocity
        held.append(model)
    assert found.apply(gradients) == pytest.approx(held, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a workload must be prefix, or any of"),
        ("adam", "a workload must be"),
        ("momentum", "a workload must be"),
        ("prefix=1", "a workload must be"),
        ("cosine=3", "a workload must be"),
        (None, "a workload must be"),
        (0.9, "a workload must be"),
        ("momentum=fast", "momentum must be a number"),
        ("momentum=nan", "momentum must be a finite number"),
        ("momentum=1", "beta must be within"),
        ("weight_decay=-1", "weight_decay must be within"),
        ("momentum=0.9,momentum=0.8", "says momentum once"),
        ("prefix,momentum=0.9", "prefix is a workload of its own"),
        ("cosine,linear", "one schedule, not cosine and linear"),
        ("cosine,cooldown=0.2", "one schedule, not cosine and cooldown"),
        ("cooldown=0", "cooldown must be within"),
        ("cooldown=1.5", "cooldown must be within"),
        ("final=0.1", "final belongs to a schedule"),
        ("cosine,final=0", "final must be within"),
    ],
)
def test_what_is_no_workload_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        parse_workload(text, 20)


@given(st.text(st.sampled_from("prefixcosnelam=0.9,1einf-_ "), max_size=30))
def test_any_text_is_a_workload_or_refused(text):
    try:
        found = parse_workload(text, 5)
    except ValueError:
        assert text.strip() != "prefix"
    else:
        assert np.all(np.isfinite(found.matrix()))
