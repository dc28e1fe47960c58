"""Strategies side by side: against matrices and all patterns, and never better than possible."""

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mechanisms import CyclicPoisson, FixedEpochOrder, MinSeparation, SingleParticipation
from mechanisms.comparison import Comparison, Refused, Row, bound_of, compare
from mechanisms.designs import Run, parse, parse_workload, suitable
from mechanisms.lower_bounds import LowerBound
from mechanisms.workloads import from_matrix, momentum

DOCS = Path(__file__).parents[2] / "docs"
STEPS = 18
PATTERNS = MinSeparation(6, 3)
RUNS = [
    Run(STEPS, PATTERNS),
    Run(STEPS, PATTERNS, objective="max"),
    Run(STEPS, SingleParticipation(), momentum(STEPS, 0.9, 0.01)),
    Run(STEPS, FixedEpochOrder(9), parse_workload("cosine,momentum=0.5", STEPS)),
    Run(STEPS, CyclicPoisson(3, 0.1)),
]


@pytest.fixture(scope="module", params=RUNS, ids=str)
def compared(request) -> Comparison:
    return compare(request.param)


def designs(*names: str):
    return [parse(name) for name in names]


def patterns(participation, steps):
    """Every set of steps that one example may take part in."""
    if isinstance(participation, CyclicPoisson):
        return [(t,) for t in range(steps)]  # each participation is priced on its own
    if isinstance(participation, FixedEpochOrder):
        length = participation.epoch_length
        return [tuple(range(i, steps, length)) for i in range(length)]
    count, separation = participation.count(steps), participation.separation(steps)
    return [
        steps_
        for size in range(1, count + 1)
        for steps_ in itertools.combinations(range(steps), size)
        if all(b - a >= separation for a, b in itertools.pairwise(steps_))
    ]


def errors(row: Row, run: Run) -> tuple[float, float]:
    """Root mean square and largest error at noise multiplier 1, if contributions are all equal."""
    matrix, workload = row.strategy.matrix(), run.estimated.matrix()
    moved = max(
        np.linalg.norm(matrix[:, list(p)].sum(axis=1))
        for p in patterns(run.participation, run.steps)
    )
    squared = np.square(workload @ np.linalg.pinv(matrix)).sum(axis=1)
    if row.design.kind in ("tree", "tree-online"):
        # Estimates that a stream can make; the pseudo-inverse looks ahead.
        squared = np.square(workload @ row.strategy.decoder()).sum(axis=1)
    return float(moved * np.sqrt(squared.mean())), float(moved * np.sqrt(squared.max()))


def test_rows_are_what_matrices_and_all_patterns_say(compared):
    assert len(compared.rows) >= 3
    for row in compared.rows:
        mean, largest = errors(row, compared.run)
        assert row.rmse >= mean * (1 - 1e-12)
        assert row.max_error >= largest * (1 - 1e-12)
        if row.sensitivity.exact and np.all(row.strategy.matrix() >= 0):
            assert row.rmse == pytest.approx(mean, rel=1e-9)
            assert row.max_error == pytest.approx(largest, rel=1e-9)
        assert row.rmse <= row.max_error * (1 + 1e-12)


def test_no_row_is_better_than_possible(compared):
    assert compared.bound is not None
    assert compared.bound.certified
    for row in compared.rows:
        assert row.error(compared.run.objective) >= compared.bound.value
        assert compared.gap(row) >= 0.0
        gap = compared.bound.gap(row.error(compared.run.objective))
        assert compared.gap(row) == pytest.approx(gap, abs=1e-9)


def test_the_least_error_comes_first(compared):
    found = [row.error(compared.run.objective) for row in compared.rows]
    assert found == sorted(found)
    assert not compared.refused
    assert {row.design for row in compared.rows} == set(suitable(compared.run))


def test_the_preferred_row_keeps_least_of_those_that_are_as_good(compared):
    objective, best = compared.run.objective, compared.preferred
    as_good = [
        row
        for row in compared.rows
        if row.error(objective) <= 1.01 * compared.rows[0].error(objective)
    ]
    assert best in as_good
    # A dense one keeps nothing, but draws everything again for every step: only where it has to.
    others = [row.memory for row in as_good if row.design.kind != "dense"]
    assert best.design.kind == "dense" if not others else best.memory == min(others)


def test_the_best_design_is_near_the_bound():
    # One participation: dense strategies reach the bound (arXiv 2202.08312).
    compared = compare(Run(STEPS), designs("dense", "identity"))
    assert compared.rows[0].design == parse("dense")
    assert compared.gap(compared.rows[0]) < 0.01
    assert compared.gap(compared.rows[1]) > 50


def test_published_figures():
    """Of n = 1000, one participation; and of StackOverflow's 2,052 rounds (6, 342)."""
    once = {
        str(r.design): r
        for r in compare(
            Run(1000),
            designs("identity", "tree", "tree-online", "square-root", "blt:4"),
            quick=True,
        ).rows
    }
    assert once["identity"].rmse == pytest.approx(22.372, abs=1e-3)
    assert once["tree"].rmse == pytest.approx(7.027, abs=1e-3)
    assert once["tree-online"].rmse == pytest.approx(5.357, abs=1e-3)
    assert once["square-root"].rmse == pytest.approx(3.102, abs=1e-3)
    assert once["blt:4"].rmse <= 3.04983 * (1 + 1e-5)
    six = {
        str(r.design): r
        for r in compare(
            Run(2052, MinSeparation(342, 6)), designs("blt:3", "toeplitz:342"), quick=True
        ).rows
    }
    assert six["blt:3"].rmse <= 9.17130 * (1 + 1e-5)
    assert six["toeplitz:342"].rmse <= 8.80410 * (1 + 1e-5)


# -- the bound -------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS[:2], ids=str)
def test_a_quick_bound_is_lower(run):
    quick, thorough = bound_of(run, quick=True), bound_of(run)
    assert 0.8 * thorough.value < quick.value < thorough.value


def test_a_quick_bound_is_for_prefix_sums():
    spelled = Run(STEPS, PATTERNS, parse_workload("prefix", STEPS))
    assert bound_of(spelled, quick=True) == bound_of(RUNS[0], quick=True)
    assert bound_of(RUNS[2], quick=True) is None
    compared = compare(RUNS[2], designs("identity"), quick=True)
    assert compared.bound is None
    assert compared.gap(compared.rows[0]) is None


@pytest.mark.soak
def test_the_bound_that_is_quoted():
    """The one block of docs/stackoverflow.md that is shown and not run, for its half a minute."""
    run = Run(2052, MinSeparation(342, 6))
    rows = {
        str(r.design): r for r in compare(run, designs("blt:4", "toeplitz:342"), quick=True).rows
    }
    bound = bound_of(run)
    gaps = [f"{bound.gap(rows[name].rmse):.1f} %" for name in ("toeplitz:342", "blt:4")]
    text = (DOCS / "stackoverflow.md").read_text()
    assert f"'{bound.value:.4f} {gaps[0]} {gaps[1]}'" in text


FIGURES = (DOCS / "correlated-noise.md").read_text().split("<!-- figures -->\n")[1]
HEAD, _, *FIGURE_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in FIGURES.split("<!-- end")[0].splitlines()
]


@pytest.mark.parametrize("cells", FIGURE_ROWS, ids=lambda cells: cells[0])
def test_the_table_of_figures_is_what_comes_out(cells):
    run = run_of_figures(cells)
    shown = dict(zip(HEAD[1:-1], cells[1:-1], strict=True))
    shown = {kind: text for kind, text in shown.items() if text and kind != "dense"}
    names = [
        f"{kind}:{text.split('(')[1][:-1]}" if "(" in text else kind for kind, text in shown.items()
    ]
    compared = compare(run, designs(*names), quick=True)
    assert not compared.refused
    for row in compared.rows:
        assert row.rmse == pytest.approx(float(shown[row.design.kind].split()[0]), abs=6e-4)
        assert row.rmse >= float(cells[-1])


@pytest.mark.soak
@pytest.mark.parametrize("cells", FIGURE_ROWS, ids=lambda cells: cells[0])
def test_what_is_possible_is_what_comes_out(cells):
    run = run_of_figures(cells)
    bound = bound_of(run)
    assert bound.value - 1e-4 < float(cells[-1]) <= bound.value
    if cells[-2]:
        assert compare(run, designs("dense"), quick=True).rows[0].rmse <= float(cells[-2]) + 1e-4


def run_of_figures(cells: list[str]) -> Run:
    steps, count, separation, *_ = [*map(int, cells[0].split(", ")), 0]
    return Run(steps, MinSeparation(separation, count) if separation else SingleParticipation())


def test_where_no_bound_is_known_no_gap_is_made_up():
    compared = compare(Run(5000, workload=momentum(5000, 0.9)), designs("blt:2"))
    assert compared.bound is None
    assert compared.gap(compared.preferred) is None
    row = compared.rows[0]
    useless = Comparison(compared.run, compared.rows, (), LowerBound(0.0, True, "nothing"))
    assert useless.gap(row) is None


# -- limits and refusals ---------------------------------------------------------------------------


def test_memory_is_kept_to_and_what_exceeds_it_is_named():
    compared = compare(RUNS[0], memory=2)
    assert {row.memory for row in compared.rows} <= {0, 1, 2}
    assert not compared.refused
    asked = compare(RUNS[0], designs("blt:2", "blt:3", "tree"), memory=2)
    assert [str(row.design) for row in asked.rows] == ["blt:2"]
    assert [str(one.design) for one in asked.refused] == ["blt:3", "tree"]
    assert asked.refused[0].reason == "its noise keeps 3 model copies, more than the 2 allowed"


def test_what_does_not_fit_is_refused_with_its_reason():
    said = []
    compared = compare(
        RUNS[4], designs("toeplitz:3", "toeplitz:4", "blt:2", "toeplitz:99"), report=said.append
    )
    assert [str(row.design) for row in compared.rows] == ["toeplitz:3"]
    reasons = {str(one.design): one.reason for one in compared.refused}
    assert set(reasons) == {"toeplitz:4", "blt:2", "toeplitz:99"}
    assert "groups" in reasons["toeplitz:4"]
    assert "18 steps" in reasons["toeplitz:99"]
    assert said == [*compared.rows, *compared.refused]
    assert all(isinstance(one, Row | Refused) for one in said)


def test_nothing_to_compare_has_nothing_to_prefer():
    compared = compare(RUNS[4], designs("blt:2"))
    assert compared.rows == ()
    with pytest.raises(ValueError, match="no design fits"):
        _ = compared.preferred


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"designs": ["blt:2"]}, "designs must be those of mechanisms.designs"),
        ({"memory": -1}, "memory must be a whole number"),
        ({"memory": 1.5}, "memory must be a whole number"),
    ],
)
def test_what_is_no_question_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        compare(RUNS[0], **options)


# -- elsewhere -------------------------------------------------------------------------------------


def test_an_executor_gives_the_same_rows():
    tried = designs("identity", "tree", "blt:2", "toeplitz:4", "toeplitz:99")
    here = compare(RUNS[0], tried)
    with ThreadPoolExecutor(2) as executor:
        there = compare(RUNS[0], tried, executor=executor)
    assert there == here


def test_rows_come_back_from_other_processes():
    compared = compare(RUNS[0])
    assert pickle.loads(pickle.dumps(compared)) == compared


def test_any_workload_can_be_compared():
    matrix = np.tril(np.random.default_rng(1).uniform(0.5, 1.5, (8, 8)))
    compared = compare(Run(8, MinSeparation(4), from_matrix(matrix)))
    for row in compared.rows:
        assert row.rmse >= compared.bound.value
    assert compared.rows[0].rmse < compared.rows[-1].rmse
