"""What the section on correlated noise rests on: its judge, its ratios, and what it promises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pytest

from benchmarks import matrix_results, report_matrix
from benchmarks.contenders.base import Contender, NotOfferedError
from benchmarks.contenders.matrix_ours import Designs, claimed_error
from benchmarks.contenders.registry import JAX_PRIVACY, OURS_DESIGNS, Entry, by_name
from benchmarks.matrix_evaluation import attained_by_tree, error_of, most_over_patterns
from benchmarks.matrix_results import Ratio, Row, judged, median_of
from benchmarks.matrix_tasks import (
    DESIGN_TASKS,
    MATRIX_TASKS,
    Design,
    DesignTask,
    MatrixTask,
    TreeTask,
)
from benchmarks.peer_worker import _measure
from benchmarks.tasks import by_name as task_by_name
from benchmarks.worker_process import Measurement

FEW = (
    Design("dense", 12, 0),
    Design("dense", 12, 4, separation=4, participations=3),
    Design("dense", 9, 0, "max"),
    Design("banded", 12, 3),
    Design("banded", 11, 3, "max", separation=4, participations=2),
    Design("banded Toeplitz", 12, 3),
    Design("banded Toeplitz", 11, 4, "max", separation=5, participations=2),
    Design("BLT", 12, 2, "max"),
    Design("BLT", 13, 2, "mean", separation=4, participations=3),
)


def matrix_of(design: Design, answer: Sequence[float]) -> np.ndarray:
    """C, entry by entry, as the tasks say that answers are to be read."""
    n, size = design.steps, design.size
    matrix = np.zeros((n, n))
    values = iter(answer)
    for i, j in itertools.product(range(n), range(n)):
        if design.family == "dense" and j <= i:
            matrix[i, j] = next(values)
        if design.family == "banded" and j < size:
            entry = next(values)
            if i + j < n:
                matrix[i + j, i] = entry
        if design.family == "banded Toeplitz" and 0 <= i - j < size:
            matrix[i, j] = answer[i - j]
        if design.family == "BLT" and j <= i:
            decay, weights = np.array(answer[:size]), np.array(answer[size:])
            matrix[i, j] = 1.0 if i == j else float(weights @ decay ** (i - j - 1))
    return matrix


def error_by_brute_force(design: Design, answer: Sequence[float]) -> float:
    """From matrices and all patterns; equal contributions are the worst in these cases."""
    matrix = matrix_of(design, answer)
    errors = np.square(np.tri(design.steps) @ np.linalg.inv(matrix)).sum(axis=1)
    most = 0.0
    for count in range(1, design.participations + 1):
        for pattern in itertools.combinations(range(design.steps), count):
            if all(b - a >= design.separation for a, b in itertools.pairwise(pattern)):
                most = max(most, float(np.linalg.norm(matrix[:, pattern].sum(axis=1))))
    worst = np.mean(errors) if design.objective == "mean" else np.max(errors)
    return most * math.sqrt(worst)


@pytest.mark.parametrize("design", FEW, ids=str)
def test_the_judge_agrees_with_brute_force_and_with_this_library(design: Design) -> None:
    answer = Designs().strategy(design, None)
    error = error_of(design, answer)
    assert error == pytest.approx(error_by_brute_force(design, answer), rel=1e-10)
    assert error == pytest.approx(claimed_error(design, answer), rel=1e-11)


@pytest.mark.parametrize("objective", ["mean", "max"])
def test_the_judge_runs_any_number_of_steps(objective: str) -> None:
    decay, weights = (0.995, 0.7), (0.05, 0.2)
    design = Design("BLT", 3000, 2, "mean" if objective == "mean" else "max", 700, 4)
    given, taken = np.zeros(2), [0, 700, 1400, 2100]
    noise, moved, column = np.zeros(2), [], []
    for t in range(design.steps):
        moved.append((t in taken) + np.dot(weights, given))
        given = np.multiply(decay, given) + (t in taken)
        column.append(1.0 - np.dot(weights, noise))
        noise = np.multiply(decay, noise) + column[-1]
    errors = np.cumsum(np.square(column))
    worst = errors.mean() if objective == "mean" else errors[-1]
    expected = np.linalg.norm(moved) * math.sqrt(worst)
    assert error_of(design, [*decay, *weights]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("design", "answer", "words"),
    [
        (Design("BLT", 9, 1), [0.5], "decays"),
        (Design("BLT", 9, 1), [0.5, -0.1], "not below 0"),
        (Design("BLT", 9, 1), [1.5, 0.1], "within"),
        (Design("BLT", 9, 1, "max", 3, 2), [0.5, 1.2], "decrease"),
        (Design("banded Toeplitz", 9, 4, "max", 3, 2), [1.0, 0.5, 0.4, 0.3], "not known"),
        (Design("banded Toeplitz", 9, 2), [1.0, 0.5, 0.4], "at most 2"),
        (Design("banded", 9, 2), [1.0], "expected"),
        (Design("dense", 9, 0), [1.0], "triangle"),
        (Design("BLT", 9, 1), [math.nan, 0.1], "finite"),
    ],
)
def test_the_judge_refuses_what_is_no_such_strategy(
    design: Design, answer: list[float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        error_of(design, answer)


def test_patterns_are_all_compared() -> None:
    draw = np.random.default_rng(5)
    for steps, separation, count in itertools.product((1, 5, 8), (1, 2, 4), (1, 2, 3)):
        values = draw.random(steps)
        most = max(
            sum(values[list(pattern)])
            for size in range(1, count + 1)
            for pattern in itertools.combinations(range(steps), size)
            if all(b - a >= separation for a, b in itertools.pairwise(pattern))
        )
        assert most_over_patterns(values, separation, count) == pytest.approx(most, rel=1e-14)


def test_what_a_tree_attains() -> None:
    assert attained_by_tree(2000, 314, 6) == 79
    for steps, separation, count in ((7, 2, 3), (8, 3, 2), (13, 1, 4)):
        nodes = [
            (first, first + 2**height)
            for height in range(4)
            for first in range(0, steps - 2**height + 1, 2**height)
        ]
        squared = max(
            sum(
                sum(a <= i < b for i in range(s, s + count * separation, separation)) ** 2
                for a, b in nodes
            )
            for s in range(steps - (count - 1) * separation)
        )
        assert attained_by_tree(steps, separation, count) == squared


# -- the harness -----------------------------------------------------------------------------------


class FakeWorker:
    """Answers what a test says."""

    answers: ClassVar[dict[tuple[str, str], Measurement]] = {}
    asked: ClassVar[list[tuple[str, str, int | None]]] = []

    def __init__(self, entry: Entry, limit: int) -> None:
        self.entry = entry
        self.version, self.import_seconds = "1.2.3", 0.5
        self.unavailable: str | None = None

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def measure(self, task_name: str, limit: int | None = None) -> Measurement:
        self.asked.append((self.entry.name, task_name, limit))
        return self.answers[self.entry.name, task_name]


def _answered(
    answer: list[float],
    first: float = 1.0,
    later: tuple[float, ...] = (0.5,),
    compile_seconds: tuple[float, ...] = (0.0, 0.0),
) -> Measurement:
    return Measurement(
        answer, cpu_seconds=later, first_seconds=first, compile_seconds=compile_seconds
    )


BLT = DesignTask("blt", Design("BLT", 64, 1, "max"), known=None, most_seconds=0.03, limit=7)
TOEPLITZ = DesignTask("toeplitz", Design("banded Toeplitz", 64, 4), most_seconds=0.01, limit=9)
DENSE = DesignTask("dense", Design("dense", 16, 0), within=0.1, stop_after=2.0)
TREE = TreeTask("tree", 64, 8, 3, 1.0)
SMALL: tuple[MatrixTask, ...] = (BLT, TOEPLITZ, DENSE, TREE)
NOISE = [["BLT, 4 buffers, float64", "4", "20 ns", "10 ns", "0.50"]]


@pytest.fixture(scope="module")
def results() -> Iterator[matrix_results.Results]:
    triangle = np.tril_indices(16)
    root = np.cumprod([1.0, *(1.0 - 0.5 / j for j in range(1, 16))])
    ours = {
        "blt": [0.9, 0.2],
        "toeplitz": [1.0, 0.5, 0.3, 0.2],
        "dense": [*root[np.subtract(*triangle)]],
        "tree": [float(attained_by_tree(64, 8, 3))],
    }
    theirs = {
        "blt": _answered([0.5, 0.1], 5.0, (4.0, 6.0), (4.0, 3.5, 3.5)),
        "toeplitz": Measurement(failure="over 9 s", ended_after=9),
        "dense": _answered([*np.eye(16)[triangle]], 3.0, (3.0,), (0.5,)),
        "tree": Measurement(failure="no binary trees", offered=False),
    }
    with pytest.MonkeyPatch.context() as patch:
        own = {name: _answered(answer, 0.1, (0.02,)) for name, answer in ours.items()}
        answers = {(OURS_DESIGNS.name, name): found for name, found in own.items()}
        answers |= {(JAX_PRIVACY.name, name): found for name, found in theirs.items()}
        patch.setattr(FakeWorker, "answers", answers)
        patch.setattr(FakeWorker, "asked", [])
        yield matrix_results.run(SMALL, start=FakeWorker)


def assert_ratio(ratio: Ratio | None, value: float, at_least: bool = False) -> None:
    assert ratio is not None
    assert ratio.value == pytest.approx(value)
    assert ratio.at_least == at_least


def test_everybody_is_asked_with_the_limit_of_the_task(results: matrix_results.Results) -> None:
    names = [OURS_DESIGNS.name, JAX_PRIVACY.name, OURS_DESIGNS.name]
    limits = {task.name: task.limit for task in SMALL}
    assert FakeWorker.asked == [(name, task, limits[task]) for name in names for task in limits]
    assert [row.task.name for row in results.rows] == ["blt", "toeplitz", "dense", "tree"]
    # what both of our processes took
    assert results.rows[0].ours.cpu_seconds == (0.02, 0.02)


def test_ratios_of_a_peer_that_answered_again(results: matrix_results.Results) -> None:
    row = results.rows[0]
    assert_ratio(row.first, 5.0 / 0.1)
    assert_ratio(row.again, 5.0 / 0.02)
    assert_ratio(row.without_compiling, 1.5 / 0.02)
    assert row.excess is not None
    assert row.excess < 0.0
    assert row.least is not None
    assert row.error is not None
    assert row.least <= row.error


def test_a_peer_that_was_ended_took_at_least_that_long(results: matrix_results.Results) -> None:
    row = results.rows[1]
    assert_ratio(row.again, 9.0 / 0.02, at_least=True)
    assert_ratio(row.first, 9.0 / 0.1, at_least=True)
    assert row.without_compiling is None
    assert row.excess is None


def test_a_peer_asked_once_counts_without_compiling(results: matrix_results.Results) -> None:
    row = results.rows[2]
    assert row.stopped
    assert_ratio(row.again, 2.5 / 0.02, at_least=True)
    assert_ratio(row.without_compiling, 2.5 / 0.02, at_least=True)


def test_medians_of_bounds_are_bounds() -> None:
    assert median_of([Ratio(1.0), Ratio(3.0), Ratio(9.0, at_least=True)]) == Ratio(3.0)
    assert median_of([Ratio(1.0, at_least=True), Ratio(3.0), Ratio(9.0)]) == Ratio(3.0, True)
    assert median_of([Ratio(1.0), Ratio(3.0, at_least=True)]) == Ratio(2.0, True)


def test_the_report_says_what_was_met_and_missed(results: matrix_results.Results) -> None:
    found = {promise.promise: promise for promise in report_matrix.promises(results.rows, NOISE)}
    assert found["blt"].met
    assert not found["toeplitz"].met
    assert found["toeplitz"].measured == "20 ms"
    assert found["tree"].met
    assert found["noise: BLT, 4 buffers, float64, speed over the generator's"].met
    assert found["dense: above the certified lower bound"].met
    text = report_matrix.render(results, NOISE)
    assert "at least 350x again" in text
    assert "over 9 s" in text
    assert "no binary trees" in text
    assert "| toeplitz | 20 ms | at most 10 ms | **missed** |" in text
    assert "the slower one, compiling left out: none" in text
    assert text.count("| --- |") == 5


def test_a_slower_row_and_a_higher_error_are_named() -> None:
    ours, peer = _answered([1.0], later=(2.0,)), _answered([1.0], later=(1.0,))
    row = Row(BLT, ours, peer, error=1.1, peer_error=1.0, claimed=1.1, least=1.0)
    text = report_matrix.summary([row])
    assert "compiling left out: blt;" in text
    assert "by more than 1e-06: blt." in text
    missed = [p for p in report_matrix.promises([row], []) if not p.met]
    assert len(missed) == 4


def test_the_report_without_a_peer(results: matrix_results.Results) -> None:
    asked = len(FakeWorker.asked)
    alone = matrix_results.run(SMALL[:1], with_peer=False, start=FakeWorker)
    assert {name for name, _, _ in FakeWorker.asked[asked:]} == {OURS_DESIGNS.name}
    del FakeWorker.asked[asked:]
    assert alone.rows[0].error == results.rows[0].error
    assert "No peer was measured" in report_matrix.render(alone, NOISE)


def test_an_answer_that_cannot_be_judged_is_a_failure(results: matrix_results.Results) -> None:
    row = judged(BLT, results.rows[0].ours, _answered([0.5, -0.1]))
    assert row.error == results.rows[0].error
    assert row.peer_error is None
    assert row.peer.failure == "not judged: decays must be within [0, 1] and weights not below 0"
    assert row.again is None


def test_noise_below_a_third_of_the_generator_is_missed() -> None:
    slow = [["BLT, 4 buffers, float64", "4", "40 ns", "10 ns", "0.25"]]
    assert [promise.met for promise in report_matrix.promises([], slow)] == [False]
    met = report_matrix.promises([], [["16 bands, float64", "15", "", "", "0.1"]])
    assert met == []


# -- the questions ---------------------------------------------------------------------------------


def test_tasks_have_names_of_their_own_that_a_worker_finds() -> None:
    assert len({task.name for task in MATRIX_TASKS}) == len(MATRIX_TASKS)
    for task in MATRIX_TASKS:
        assert task_by_name(task.name) is task
    for entry in (OURS_DESIGNS, JAX_PRIVACY):
        assert by_name(entry.name) is entry


def test_designs_are_of_kinds_that_the_judge_knows_the_sensitivity_of() -> None:
    for task in DESIGN_TASKS:
        design = task.design
        if design.family.startswith("banded") and design.participations > 1:
            assert design.size <= design.separation
    assert sum(task.in_median for task in DESIGN_TASKS) == 22


class Compiling(Contender):
    """Reports that half of its first call went into compiling."""

    calls = 0

    def strategy(self, design: Design, stop_after: float | None) -> list[float]:
        self.calls += 1
        self.compile_seconds += 0.5 if self.calls == 1 else 0.0
        return [0.5, 0.1]


def test_a_worker_tells_first_calls_and_compiling_apart() -> None:
    found = _measure(Compiling(), BLT)
    assert found["answer"] == [0.5, 0.1]
    assert found["compile_seconds"][:2] == [0.5, 0.0]
    assert len(found["cpu_seconds"]) == len(found["compile_seconds"]) - 1
    assert found["first_seconds"] >= 0.0


def test_an_accountant_has_no_strategies() -> None:
    with pytest.raises(NotOfferedError, match="strategies"):
        BLT.ask(Contender(), 0)
    with pytest.raises(NotOfferedError, match="trees"):
        TREE.ask(Contender(), 0)
