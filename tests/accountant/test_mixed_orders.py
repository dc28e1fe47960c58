"""Batches of fixed size: releases of both orders from one pair of data sets.

The others' vectors may be those of the removed record in one query and of the new one in the next,
so that "each order composed, then the larger" is no bound (Lebeda et al. 2024, arXiv 2405.20769).
"""

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, dp_event
from scipy import special

from accountant import privacy_loss
from tests.accountant.support_truth import composed, on_cells

SIGMA, SIZE, BATCH = 1.0, 10, 3
LAW = on_cells(lambda x: special.ndtr(x / SIGMA), 12.0, 0.004)


def mixed_orders(q):
    """((1-q) N(0) + q N(2), N(0)) and then (N(0), (1-q) N(0) + q N(-2)): both orders at once."""
    here, up, down = LAW(0), LAW(2), LAW(-2)
    first = ((1 - q) * here + q * up, here)
    second = (here, (1 - q) * here + q * down)
    return composed(first, second), composed(first, first), composed(second, second)


@pytest.mark.parametrize("epsilon", [0.2, 0.5, 1.0])
def test_the_bound_covers_releases_of_both_orders(epsilon):
    batch = dp_event.SampledWithoutReplacementDpEvent(SIZE, BATCH, dp_event.GaussianDpEvent(SIGMA))
    loss = 2 * privacy_loss(batch, NeighboringRelation.REPLACE_ONE)
    mixed, *alone = mixed_orders(BATCH / SIZE)
    assert mixed(epsilon) <= loss.delta(epsilon) * (1.0 + 1e-9)
    found = loss.delta_bounds(epsilon)
    assert found.lower <= max(one(epsilon) for one in alone) * (1.0 + 1e-4)


@pytest.mark.parametrize("direction", ["add", "remove"])
def test_either_record_may_be_the_one_that_the_others_resemble(direction):
    batch = dp_event.SampledWithoutReplacementDpEvent(SIZE, BATCH, dp_event.GaussianDpEvent(SIGMA))
    loss = privacy_loss(batch, NeighboringRelation.REPLACE_ONE)
    q, here, up = BATCH / SIZE, LAW(0), LAW(2)
    sampled = (1 - q) * here + q * up
    for epsilon in (0.1, 0.4, 1.0):
        for p, other in ((sampled, here), (here, sampled)):
            true = float(np.maximum(p - np.exp(epsilon) * other, 0.0).sum())
            assert true <= loss.delta(epsilon, direction) * (1.0 + 1e-6)
