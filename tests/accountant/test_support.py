"""The support table: what the code answers, citations that exist, and what peers support."""

import itertools
import math
import re

import pytest
from dp_accounting import dp_event as dp
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import RdpAccountant

from accountant import UnsupportedEventError, events, privacy_loss, support
from accountant.dominating_pairs import supported_events
from accountant.support import MECHANISMS, PAGE, SAMPLERS, Verdict, cells, page, peers
from accountant.support_theorems import DOCUMENTED, MECHANISM_THEOREMS, SAMPLER_THEOREMS


def test_the_page_is_what_the_code_answers():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m accountant.support --write"


def test_every_cell_is_there_once():
    places = [(c.mechanism, c.sampler, c.relation) for c in cells()]
    assert len(set(places)) == len(places) == len(MECHANISMS) * len(SAMPLERS) * 3


def test_every_supported_cell_has_its_theorems():
    for cell in cells():
        if cell.verdict.supported:
            assert all(cell.theorems), (cell.mechanism, cell.sampler, cell.relation.name)
        elif cell.verdict is Verdict.UNSUPPORTED:
            assert cell.reason


def test_every_theorem_is_used():
    used = {theorem for cell in cells() for theorem in cell.theorems}
    assert set(MECHANISM_THEOREMS) == set(MECHANISMS)
    assert used == {*MECHANISM_THEOREMS.values(), *SAMPLER_THEOREMS.values()}


CITED = sorted(
    {
        cited
        for text in (*MECHANISM_THEOREMS.values(), *SAMPLER_THEOREMS.values())
        for cited in re.findall(r"docs/([a-z-]+\.md)(?:, sections? (\d+))?", text)
    }
)


@pytest.mark.parametrize(("name", "section"), CITED)
def test_cited_documents_exist(name, section):
    text = (PAGE.parent / name).read_text(encoding="utf-8")
    assert not section or re.search(rf"^## {section}\. ", text, re.M)


def test_every_rule_has_a_cell():
    def names(event):
        yield type(event).__name__
        for inner in [getattr(event, "event", None), *getattr(event, "events", ())]:
            if inner is not None:
                yield from names(inner)

    seen = {name for cell in cells() if cell.event for name in names(cell.event)}
    without = {"NoOpDpEvent", "NonPrivateDpEvent", "SelfComposedDpEvent"}
    assert seen | without == set(supported_events())


# What a peer prices and this accountant refuses.
HOLES: set[tuple[str, str]] = set()


def test_the_cells_that_peers_support_and_this_does_not_are_known():
    holes = {
        (cell.mechanism, cell.sampler)
        for cell in cells()
        if peers(cell) and not cell.verdict.supported
    }
    assert holes == HOLES


def test_peers_name_cells_of_the_table():
    for peer in DOCUMENTED.values():
        for sampler, mechanism in peer.cells:
            assert sampler in SAMPLERS
            assert mechanism in MECHANISMS
        assert set(peer.relations) <= {one.name for one in NeighboringRelation}


# --- everything that dp_accounting can say, nested ----------------------------------------------

LEAVES = {
    "nothing": dp.NoOpDpEvent(),
    "non-private": dp.NonPrivateDpEvent(),
    "unsupported": dp.UnsupportedDpEvent(),
    "randomized response": dp.RandomizedResponseDpEvent(0.5, 4),
    "one bucket": dp.RandomizedResponseDpEvent(0.0, 1),
    "Gaussian": dp.GaussianDpEvent(1.1),
    "no noise": dp.GaussianDpEvent(0.0),
    "Laplace": dp.LaplaceDpEvent(2.0),
    "discrete Laplace": dp.DiscreteLaplaceDpEvent(0.5, 2),
    "tree": dp.SingleEpochTreeAggregationDpEvent(3.0, 16),
    "trees": dp.SingleEpochTreeAggregationDpEvent(3.0, [16, 5]),
    "mixture": dp.MixtureOfGaussiansDpEvent(2.0, [0.0, 1.0, 2.0], [0.5, 0.25, 0.25]),
    "zCDP": dp.ZCDpEvent(0.1),
    "zCDP with xi": dp.ZCDpEvent(0.1, 0.2),
    "truncated": dp.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 16, 1.0),
}
WRAPPERS = [
    lambda event: dp.SelfComposedDpEvent(event, 3),
    lambda event: dp.ComposedDpEvent([event, dp.GaussianDpEvent(1.1)]),
    lambda event: dp.PoissonSampledDpEvent(0.1, event),
    lambda event: dp.PoissonSampledDpEvent(1.0, event),
    lambda event: dp.SampledWithoutReplacementDpEvent(100, 10, event),
    lambda event: dp.SampledWithReplacementDpEvent(100, 10, event),
    *(
        lambda event, shape=shape: dp.RepeatAndSelectDpEvent(event, 3.0, shape)
        for shape in (0.0, 0.5, 1.0, math.inf)
    ),
]


def supports(accountant, event):
    try:
        return accountant.supports(event)
    except ZeroDivisionError:  # theirs, of several releases without noise
        return False


@pytest.mark.parametrize("leaf", LEAVES)
def test_what_dp_accounting_supports_is_supported(leaf):
    asked = 0
    for relation in NeighboringRelation:
        theirs = [one(neighboring_relation=relation) for one in (PLDAccountant, RdpAccountant)]
        for depth in range(4):
            for wrappers in itertools.product(WRAPPERS, repeat=depth):
                event = LEAVES[leaf]
                for wrap in wrappers:
                    event = wrap(event)
                if any(supports(one, event) for one in theirs):
                    asked += 1
                    privacy_loss(event, relation)
    assert asked or leaf == "unsupported"


# --- where a peer is wrong -----------------------------------------------------------------------


def test_a_repeated_randomized_response_is_not_one():
    """dp_accounting's PLD accountant leaves the count out: pure epsilon is 10 ln 5, not ln 5."""
    event = dp.SelfComposedDpEvent(dp.RandomizedResponseDpEvent(0.5, 4), 10)
    relation = NeighboringRelation.REPLACE_ONE
    theirs = PLDAccountant(relation).compose(event).get_epsilon(1e-12)
    assert theirs == pytest.approx(math.log(5.0), rel=1e-3)
    assert privacy_loss(event, relation).epsilon(0.0) == pytest.approx(10.0 * math.log(5.0))


def test_their_renyi_accountant_does_not_double_what_a_replaced_record_changes():
    relation = NeighboringRelation.REPLACE_ONE
    gaussian = dp.GaussianDpEvent(2.0)
    by_rdp, by_pld = (one(neighboring_relation=relation) for one in (RdpAccountant, PLDAccountant))
    rdp, pld = (
        by_rdp.compose(gaussian).get_epsilon(1e-5),
        by_pld.compose(gaussian).get_epsilon(1e-5),
    )
    ours = privacy_loss(gaussian, relation)
    assert rdp < ours.epsilon_bounds(1e-5).lower
    assert pld == pytest.approx(ours.epsilon(1e-5), rel=1e-3)


def test_the_printed_page_is_the_written_one(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(support, "PAGE", tmp_path / "support.md")
    support.main(["--write"])
    assert support.PAGE.read_text(encoding="utf-8") == page()
    support.main([])
    assert capsys.readouterr().out.strip() == page().strip()
    with pytest.raises(SystemExit, match="--write"):
        support.main(["--all"])


def test_an_event_without_a_rule_is_refused():
    with pytest.raises(UnsupportedEventError):
        privacy_loss(dp.UnsupportedDpEvent())


# --- what has places, or a group within, is no sum over its batch --------------------------------

NOT_SUMS = {
    "tree": dp.SingleEpochTreeAggregationDpEvent(5.0, 16),
    "tree and noise": dp.ComposedDpEvent(
        [dp.SingleEpochTreeAggregationDpEvent(5.0, 16), dp.GaussianDpEvent(1.0)]
    ),
    "all of a tree": dp.PoissonSampledDpEvent(
        1.0, dp.PoissonSampledDpEvent(1.0, dp.SingleEpochTreeAggregationDpEvent(5.0, 16))
    ),
    "group": events.GroupDpEvent(3, dp.GaussianDpEvent(1.0)),
}
DRAWN = [
    name for name in SAMPLERS if name not in ("none", "truncated Poisson", "shuffled", "group of 3")
]


@pytest.mark.parametrize("sampler", DRAWN)
@pytest.mark.parametrize("inner", NOT_SUMS)
@pytest.mark.parametrize("relation", NeighboringRelation, ids=lambda one: one.name)
def test_samples_of_what_is_no_sum_are_refused(inner, sampler, relation):
    """Known others fill the leaves that a record leaves: twice the distance, and no middle law."""
    with pytest.raises(UnsupportedEventError):
        privacy_loss(SAMPLERS[sampler](NOT_SUMS[inner]), relation)
