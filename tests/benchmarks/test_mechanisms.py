"""What the section on mechanisms rests on: its data, its verdicts and its place on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.compositions import Composition, Gaussian, Laplace, PoissonSampled
from benchmarks.contenders.base import NotOfferedError
from benchmarks.contenders.dp_accounting_peer import ComposedByHand, PrivacyLossDistributions
from benchmarks.mechanism_tasks import MECHANISM_TASKS, CompositionTask
from benchmarks.report_fastest import fastest_sound
from benchmarks.results import Record, Results
from benchmarks.verdicts import Certificate, certify, judge
from benchmarks.worker_process import Measurement

QUICK = [task for task in MECHANISM_TASKS if task.known is not None]
REPORT = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_nudging_moves_every_noise_a_little() -> None:
    sampled = PoissonSampled(0.1, Gaussian(2.0))
    before = Composition(((sampled, 3), (Laplace(5.0), 1)), replace_one=True)
    after = before.nudged(2)
    assert after != before
    assert before.nudged(0) == before
    assert [count for _, count in after.parts] == [3, 1]
    assert after.replace_one
    first, second = (mechanism for mechanism, _ in after.parts)
    assert isinstance(first, PoissonSampled)
    assert isinstance(second, Laplace)
    assert first.sampling_probability == 0.1
    assert first.mechanism == Gaussian(2.0 * (1.0 + 2e-9))
    assert second.scale == pytest.approx(5.0 * (1.0 + 2e-9), rel=1e-15)


@pytest.mark.parametrize("task", QUICK, ids=lambda task: task.name)
def test_known_values_are_within_the_certificates(task: CompositionTask) -> None:
    certificate = certify(task)
    assert task.known is not None
    # As many digits as are on record.
    slack = 5e-8 if task.name == "sampled Laplace" else 1e-14 * task.known
    assert certificate.lower[0] - slack <= task.known <= certificate.upper[0] + slack
    assert certificate.tight
    assert certificate.upper[0] <= certificate.lower[0] * (1.0 + 1e-6)


def test_the_translation_for_peers_asks_the_same_question() -> None:
    """Connect-the-dots is a proved upper bound, close where the grid is fine."""
    for task in QUICK:
        answer = ComposedByHand().epsilon_of(task.composition, task.delta)
        assert task.known is not None
        assert task.known * (1.0 - 1e-7) <= answer <= task.known * (1.0 + 1e-4)


def test_an_accountant_refuses_what_it_has_no_event_for() -> None:
    task = next(task for task in MECHANISM_TASKS if task.name == "discrete Gaussian")
    with pytest.raises(NotOfferedError, match="DiscreteGaussian"):
        PrivacyLossDistributions().epsilon_of(task.composition, task.delta)


def test_the_fastest_sound_peer_is_no_unsound_one_and_not_ourselves() -> None:
    task = QUICK[0]
    certificate = Certificate((1.0,), (1.001,))
    answers = {
        "ours": ("us", 1.0005, 1.0),
        "ours, wider": ("us", 1.0008, 0.01),
        "unsound": ("a", 0.99, 0.02),
        "infinite": ("b", float("inf"), 0.03),
        "loose": ("c", 1.5, 0.1),
        "close": ("d", 1.005, 0.5),
        "slow": ("e", 1.0005, 3.0),
    }
    records = []
    for name, (distribution, answer, seconds) in answers.items():
        record = Record(name, "", distribution)
        record.measurements[task.name] = Measurement([answer], cpu_seconds=(seconds,))
        record.verdicts[task.name] = judge(task, [answer], certificate)
        records.append(record)
    results = Results(records[0], tuple(records[1:]), (task,), {task.name: certificate})
    fastest = fastest_sound(results, task, float("inf"))
    close = fastest_sound(results, task, 0.01)
    assert fastest is not None
    assert close is not None
    assert (fastest[0].name, fastest[1]) == ("loose", 0.1)
    assert (close[0].name, close[1]) == ("close", 0.5)


def test_writing_a_section_keeps_the_others() -> None:
    first = page.updated("", {"training": "runs", "mechanisms": "noise"})
    second = page.updated(first, {"mechanisms": "other noise"})
    assert page.updated(first, {}) == first
    assert second == first.replace("\nnoise\n", "\nother noise\n")
    assert "runs" in second


def test_the_page_is_made_of_its_sections() -> None:
    written = REPORT.read_text(encoding="utf-8")
    assert page.updated(written, {}) == written
    for name in page.SECTIONS:
        body = written.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0]
        assert "| --- |" in body
