"""What a planned run releases, as mathematics.

===================  ==========  =================================================================
sampler              group_size  one step, and how many
===================  ==========  =================================================================
poisson(q)           1           Poisson-sampled Gaussian(s), `steps` times
poisson(q), capped   1           Gaussian(s) on a Poisson sample cut to `max_batch_size` (arXiv
                                 2508.15089), `steps` times: an upper bound
poisson(q)           k           mixture of Gaussians with sensitivities 0..k, weights
                                 Binomial(k, q) (arXiv 2401.10294), `steps` times
without_replacement  1           Gaussian(s) on `batch_size` of `dataset_size` examples, `steps`
                                 times: exact under add/remove, else an upper bound
balls_in_bins        1           random allocation to the batches of an epoch, every epoch
full_batch           k           Gaussian(s / k), `steps` times
fixed_order          k           Gaussian(s / k), as often as one example takes part at most
shuffled             k           the same: an upper bound, whatever the order is
min_separation       k           the same
cyclic_poisson       1           a Poisson sample of one group, ceil(`steps` / `groups`) times
balls_in_bins_once   1           random allocation to the batches of an epoch of Gaussian(s /
                                 sqrt(epochs)): every epoch moves the same batch
===================  ==========  =================================================================

With correlated noise, s in units of the mechanism's sensitivity for the sampler's patterns
(`mechanisms.planning.participation`), the last four and full batches release one Gaussian(s / k)
altogether, and cyclic_poisson the same as without; balls_in_bins_once is an upper bound that
`mechanisms.amplification` proves.

s is the noise multiplier. Group privacy under Poisson sampling covers k examples that are added
together or removed together (under zero-out: k examples that are zeroed out together).

For fixed_order, which example is in which batch does not depend on the data, so the steps that none
of the k examples takes part in have the same distribution on both data sets. In the others, c_t of
the k take part and the sum moves by at most c_t clip norms; c_t <= k, and the c_t add up to at most
k times the number of participations m, so the sum of c_t^2 is at most k^2 m: no more than m
Gaussians with sensitivity k. For shuffled batches this holds given the order of every epoch, and so
without it, because divergences are jointly convex. What shuffling costs at least is proved for one
example that is zeroed out, in whole epochs of equal batches (arXiv 2403.17673).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mechanisms.planning.fields import PlanError

if TYPE_CHECKING:
    from dp_accounting import DpEvent, NeighboringRelation

    from accountant import PrivacyLoss
    from mechanisms.participation import BallsInBins
    from mechanisms.plan import Plan
    from mechanisms.strategies import Strategy

__all__ = ["event", "given", "loss", "relation", "upper"]

# Where bounds that are tight at one delta only are tight for a plan without one.
_SOME_DELTA = 1e-6

_NEEDED = {
    "dataset_size": "given, to know the batch size",
    "noise_multiplier": "given, or found by calibrate",
    "batch_size": "given, or found by calibrate",
    "steps": "given, or found by calibrate; so may epochs",
    "sampling_probability": "given, or found by calibrate; so may batch_size",
    "delta": "given: a small probability, well below 1 / dataset_size",
}


def given(plan: "Plan", name: str) -> Any:
    """Return the plan's value of a field, or say that it is missing."""
    value = getattr(plan, name)
    if value is None:
        raise PlanError(name, None, _NEEDED[name])
    return value


def event(plan: "Plan") -> "DpEvent":
    """Return the event of a whole run; see the table above."""
    from dp_accounting.dp_event import GaussianDpEvent, SelfComposedDpEvent

    from accountant.events import RandomAllocationDpEvent, ShuffledDpEvent
    from accountant.parameters import divided_down

    sigma = given(plan, "noise_multiplier")
    count = given(plan, "steps")
    if plan.sampler == "cyclic_poisson":
        return _of_groups(plan, sigma, count)
    if not isinstance(plan.mechanism, str):
        return _correlated(plan, plan.mechanism, sigma)
    if plan.sampler in ("poisson", "without_replacement"):
        return SelfComposedDpEvent(_sampled(plan, sigma), count)
    epochs = plan.max_participations
    if epochs is None:
        raise PlanError("batch_size", None, _NEEDED["batch_size"])
    if plan.sampler == "balls_in_bins_once":
        return RandomAllocationDpEvent(count // epochs, GaussianDpEvent(_shared(sigma, epochs)))
    if plan.sampler == "balls_in_bins":
        epoch = RandomAllocationDpEvent(count // epochs, GaussianDpEvent(sigma))
        return SelfComposedDpEvent(epoch, epochs)
    whole = _whole_epochs(plan)
    if whole and count == whole * (count // epochs):
        return SelfComposedDpEvent(ShuffledDpEvent(count // epochs, GaussianDpEvent(sigma)), whole)
    return SelfComposedDpEvent(GaussianDpEvent(divided_down(sigma, plan.group_size)), epochs)


def _of_groups(plan: "Plan", sigma: float, steps: int) -> "DpEvent":
    """Return Poisson sampling from groups in turn; noise may be correlated within a cycle."""
    from dp_accounting.dp_event import GaussianDpEvent

    from accountant.events import CyclicPoissonSampledDpEvent

    groups, share = given(plan, "groups"), given(plan, "sampling_probability")
    _ = plan.sensitivity  # refuses a mechanism with more bands than groups
    return CyclicPoissonSampledDpEvent(steps, groups, share, GaussianDpEvent(sigma))


def _correlated(plan: "Plan", mechanism: "Strategy", sigma: float) -> "DpEvent":
    """Return the one release that a run with correlated noise is."""
    from dp_accounting.dp_event import GaussianDpEvent

    from accountant.parameters import divided_down

    _ = plan.sensitivity  # refuses what has no proved sensitivity
    if plan.sampler == "balls_in_bins_once":
        from mechanisms.amplification import balls_in_bins_event

        delta = plan.delta or _SOME_DELTA
        return balls_in_bins_event(mechanism, _bins(plan), sigma, delta=delta)
    return GaussianDpEvent(divided_down(sigma, plan.group_size))


def _bins(plan: "Plan") -> "BallsInBins":
    from mechanisms.participation import BallsInBins
    from mechanisms.planning.participation import participation

    found = participation(plan)
    assert isinstance(found, BallsInBins)
    return found


def _shared(sigma: float, epochs: int) -> float:
    """Return ``sigma / sqrt(epochs)``, rounded down: less noise than there is."""
    import math

    return sigma if epochs == 1 else math.nextafter(sigma / math.sqrt(epochs) * (1 - 2**-51), 0)


def _sampled(plan: "Plan", sigma: float) -> "DpEvent":
    """Return one step that draws its batch independently of all others."""
    from dp_accounting.dp_event import (
        GaussianDpEvent,
        MixtureOfGaussiansDpEvent,
        PoissonSampledDpEvent,
        SampledWithoutReplacementDpEvent,
        TruncatedSubsampledGaussianDpEvent,
    )

    from accountant.parameters import binomial_weights

    k = plan.group_size
    if plan.sampler == "without_replacement":
        batch = given(plan, "batch_size")
        return SampledWithoutReplacementDpEvent(
            given(plan, "dataset_size"), batch, GaussianDpEvent(sigma)
        )
    q = given(plan, "sampling_probability")
    if plan.max_batch_size is not None:
        size = given(plan, "dataset_size")
        return TruncatedSubsampledGaussianDpEvent(size, q, plan.max_batch_size, sigma)
    if k == 1:
        return PoissonSampledDpEvent(q, GaussianDpEvent(sigma))
    sensitivities = tuple(map(float, range(k + 1)))
    return MixtureOfGaussiansDpEvent(sigma, sensitivities, binomial_weights(k, q))


def _whole_epochs(plan: "Plan") -> int:
    """Return the number of epochs for which a lower bound is known; 0 unless it shuffles."""
    size, batch, steps = plan.dataset_size, plan.fields.batch_size, plan.steps
    if plan.sampler != "shuffled" or plan.group_size > 1 or not (size and batch and steps):
        return 0
    return 0 if size % batch else steps // (size // batch)


def relation(plan: "Plan") -> "NeighboringRelation":
    """Return the plan's neighbouring relation as dp_accounting's."""
    from dp_accounting import NeighboringRelation

    return NeighboringRelation[plan.neighboring_relation.upper()]


def loss(plan: "Plan") -> "PrivacyLoss":
    """Return the privacy loss of the whole run."""
    from accountant import PrivacyLoss, privacy_loss

    known = relation(plan)
    if not isinstance(plan.mechanism, str) and plan.sampler != "cyclic_poisson":
        return _loss_of_correlated(plan, plan.mechanism, known)
    found = privacy_loss(event(plan), neighboring_relation=known)
    if plan.sampler != "shuffled" or not found.exact or plan.steps == plan.max_participations:
        return found
    # Not in whole epochs of equal batches: what is attained is what the whole epochs attain.
    epochs, attained = _whole_epochs(plan), None
    if epochs:
        shorter = plan.replace(steps=epochs * (plan.dataset_size or 0) // (plan.batch_size or 1))
        attained = privacy_loss(event(shorter), neighboring_relation=known).floor
    return replace(found, floor=attained or PrivacyLoss(known))


def _loss_of_correlated(
    plan: "Plan", mechanism: "Strategy", known: "NeighboringRelation"
) -> "PrivacyLoss":
    from accountant import PrivacyLoss, privacy_loss
    from mechanisms.amplification import balls_in_bins_loss
    from mechanisms.planning.participation import participation
    from mechanisms.strategies import BinaryTree, PrefixTree

    # All nodes of a tree are priced, and a run shows no more than prefix sums of them.
    shown = isinstance(mechanism, PrefixTree) or not isinstance(mechanism, BinaryTree)
    _ = plan.sensitivity  # refuses what has no proved sensitivity
    if plan.sampler == "balls_in_bins_once":
        sigma, delta = given(plan, "noise_multiplier"), plan.delta or _SOME_DELTA
        loss = balls_in_bins_loss(mechanism, _bins(plan), sigma, delta=delta, relation=known)
        return loss if shown else replace(loss, floor=PrivacyLoss(known))
    found = privacy_loss(event(plan), neighboring_relation=known)
    attained = mechanism.sensitivity_bound(participation(plan)).exact
    if attained and shown and plan.sampler != "shuffled":
        return found
    # Nothing is proved to be lost by a pattern that may not occur, or that nobody has found.
    return replace(found, floor=PrivacyLoss(known))


def upper(plan: "Plan") -> "PrivacyLoss":
    """Return the plan's loss without its lower bounds, which take time: the upper ends alone."""
    return plan.loss if plan.loss.exact else replace(plan.loss, floor=None)
