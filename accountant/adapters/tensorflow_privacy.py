"""TensorFlow Privacy's records of a training run, as events.  TensorFlow itself is not needed.

A ledger of an older version (``PrivacyLedger.get_formatted_ledger()``) is a list of

- ``SampleEntry(population_size, selection_probability, queries)``, one per step, with
- ``GaussianSumQueryEntry(l2_norm_bound, noise_stddev)``, one per noised sum over that batch.

Any objects with these attributes do.  Newer versions hand out an event of dp_accounting instead
(``DPQuery.get_noised_result`` returns it), whose numbers may be tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from dp_accounting import DpEventBuilder, dp_event

from accountant.adapters.scalars import divided_down, plain_event, safe_scalar
from accountant.errors import UnsupportedEventError

# Versions 0.7 had events of their own; these mean what dp_accounting's mean.
_SAME = ("NoOpDpEvent", "NonPrivateDpEvent", "GaussianDpEvent")


def event_from_ledger(ledger: Iterable[Any]) -> dp_event.DpEvent:
    """The event of a formatted ledger.

    Every step becomes one Poisson-sampled Gaussian release.  Sums that were noised over one batch
    share its sampling: together they are one Gaussian whose ``1/noise_multiplier^2`` is the sum of
    theirs (McMahan et al. 2018, arXiv 1812.06210).  The ledger stores single precision; each
    number is taken at the end of its rounding that costs more.

    Parameters
    ----------
    ledger
        Entries with ``selection_probability`` within [0, 1] and ``queries``, each of these with
        ``l2_norm_bound`` >= 0 and ``noise_stddev`` >= 0 (both in the units of the sum).
        ``population_size`` is not used.

    Raises
    ------
    ValueError
        An entry lacks an attribute, or a number is outside its domain.

    Notes
    -----
    The ledger says with which probability a record is in a batch, not how batches were drawn.
    That they were drawn by Poisson sampling is the assumption here, as it is in TensorFlow
    Privacy's own ``compute_rdp_from_ledger``; a data set that is shuffled and batched does not
    meet it.

    Examples
    --------
    >>> from collections import namedtuple
    >>> Sample = namedtuple("SampleEntry", "population_size selection_probability queries")
    >>> Query = namedtuple("GaussianSumQueryEntry", "l2_norm_bound noise_stddev")
    >>> event_from_ledger(1000 * [Sample(60_000, 0.01, [Query(2.0, 2.5)])])  # doctest: +ELLIPSIS
    SelfComposedDpEvent(event=PoissonSampledDpEvent(sampling_probability=0.01, ...), count=1000)
    """
    builder = DpEventBuilder()
    for position, entry in enumerate(ledger):
        try:
            event = _sample(entry.selection_probability, entry.queries)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"entry {position} of the ledger: {error}") from error
        builder.compose(event)
    return builder.build()


def event_from_query(event: Any) -> dp_event.DpEvent:
    """The event that a ``DPQuery`` returned, with numbers in place of tensors.

    Parameters
    ----------
    event
        An event of dp_accounting, or of TensorFlow Privacy's own classes of the same names
        (versions 0.7); tensors in it must be evaluated.

    Raises
    ------
    UnsupportedEventError
        The event, or a part of it, is of a class that has no counterpart in dp_accounting.
    ValueError
        A parameter is not one number.
    """
    return plain_event(_known(event))


def _sample(probability: Any, queries: Iterable[Any]) -> dp_event.DpEvent:
    q = safe_scalar(probability, "selection_probability", 1.0)
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"selection_probability must be within [0, 1], got {probability!r}")
    multipliers = [m for query in queries if (m := _noise_multiplier(query)) < math.inf]
    if q == 0.0 or not multipliers:
        return dp_event.NoOpDpEvent()
    release = dp_event.GaussianDpEvent(_together(multipliers))
    return release if q == 1.0 else dp_event.PoissonSampledDpEvent(q, release)


def _noise_multiplier(query: Any) -> float:
    bound = safe_scalar(query.l2_norm_bound, "l2_norm_bound", math.inf)
    noise = safe_scalar(query.noise_stddev, "noise_stddev", 0.0)
    for name, value in (("l2_norm_bound", bound), ("noise_stddev", noise)):
        if not value >= 0.0:
            raise ValueError(f"{name} must be a number >= 0, got {value!r}")
    if bound == noise == math.inf:
        raise ValueError("l2_norm_bound and noise_stddev must not both be infinite")
    if bound == 0.0 or noise == math.inf:
        return math.inf
    return divided_down(noise, bound)


def _together(multipliers: list[float]) -> float:
    """One Gaussian for several of the same batch, rounded towards less noise."""
    least = min(multipliers)
    if len(multipliers) == 1 or least == 0.0:
        return least
    # by the smallest, so that no square is outside the range of doubles
    total = math.fsum((least / m) ** 2 for m in multipliers)
    return least / math.sqrt(total) * (1.0 - 2.0**-50)


def _known(event: Any) -> dp_event.DpEvent:
    """The event in dp_accounting's classes."""
    name = type(event).__name__
    if isinstance(event, dp_event.ComposedDpEvent) or name == "ComposedDpEvent":
        return dp_event.ComposedDpEvent([_known(part) for part in event.events])
    if isinstance(event, dp_event.DpEvent):
        return event
    if name == "SelfComposedDpEvent":
        return dp_event.SelfComposedDpEvent(_known(event.event), event.count)
    if name == "PoissonSampledDpEvent":
        return dp_event.PoissonSampledDpEvent(event.sampling_probability, _known(event.event))
    if name in ("FixedBatchSampledWrDpEvent", "FixedBatchSampledWorDpEvent"):
        drawn = {
            "FixedBatchSampledWrDpEvent": dp_event.SampledWithReplacementDpEvent,
            "FixedBatchSampledWorDpEvent": dp_event.SampledWithoutReplacementDpEvent,
        }[name]
        return drawn(event.dataset_size, event.batch_size, _known(event.event))
    if name in _SAME:
        return getattr(dp_event, name)(*([event.noise_multiplier] if "Gaussian" in name else []))
    raise UnsupportedEventError(
        f"{name} has no counterpart in dp_accounting: describe what ran with the events of "
        "dp_accounting or of accountant.events"
    )
