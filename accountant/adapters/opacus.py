"""The exact engine behind Opacus: importing this module registers it as "dp-planner".

    import accountant.adapters.opacus
    engine = PrivacyEngine(accountant="dp-planner")

The import also lets ``PrivacyEngine.make_private`` warn where batches are not drawn by Poisson
sampling, which Opacus hides from an accountant; engines with another accountant behave as before.
docs/adapters.md says what is accounted, and where Opacus runs something else.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from dp_accounting import dp_event

from accountant.adapters.scalars import divided_down, safe_scalar, whole_number
from accountant.privacy_loss import PrivacyLoss, privacy_loss

try:
    from opacus import PrivacyEngine
    from opacus.accountants import IAccountant, register_accountant
    from opacus.optimizers import AdaClipDPOptimizer
    from opacus.utils.uniform_sampler import (
        DistributedUniformWithReplacementSampler,
        UniformWithReplacementSampler,
    )
except ImportError as error:
    raise ImportError(
        f"Opacus 1.6 or newer is needed ({error}): pip install 'dp-planner[opacus]'"
    ) from None

MECHANISM = "dp-planner"
# The same history again and again: a search for a noise multiplier that cannot end.
MOST_REPEATS = 10_000
POISSON_SAMPLERS = (UniformWithReplacementSampler, DistributedUniformWithReplacementSampler)

Entry = tuple[float, float, int]


class OpacusAccountant(IAccountant):
    """An Opacus accountant that answers exactly.

    Every entry of the history, ``(noise_multiplier, sample_rate, steps)``, is that many
    Poisson-sampled Gaussian releases, under add-or-remove-one adjacency.  A history that is
    assigned is checked and copied, and equal neighbours in it are merged.
    """

    def __init__(self) -> None:
        self._history: list[Entry] = []
        self._repeats = 0
        super().__init__()

    @property
    def history(self) -> list[Entry]:
        """What was released so far: noise multiplier, sample rate and steps, in order."""
        return self._history

    @history.setter
    def history(self, entries: Iterable[Entry]) -> None:
        found = _merged(entries)
        self._repeats = self._repeats + 1 if found and found == self._history else 0
        self._history = found
        if self._repeats > MOST_REPEATS:
            raise ValueError(
                "no noise multiplier was found with epsilon below the target by less than the "
                "tolerance: ask for a smaller delta, or use accountant.calibrate"
            )

    @classmethod
    def mechanism(cls) -> str:
        """The name that Opacus knows this accountant by."""
        return MECHANISM

    def __len__(self) -> int:
        """The number of steps so far."""
        return sum(steps for _, _, steps in self._history)

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Record one step.

        Raises
        ------
        ValueError
            ``noise_multiplier`` is negative, or ``sample_rate`` is outside [0, 1].
        """
        self._record(noise_multiplier, sample_rate, 1)

    @property
    def privacy_loss(self) -> PrivacyLoss:
        """Everything in the history, for brackets, trade-off curves and what else there is."""
        return _loss(_merged(self._history))

    def get_epsilon(self, delta: float, *args: Any, **kwargs: Any) -> float:
        """Certified upper bound of epsilon at ``delta``; arguments of other accountants do nothing.

        Raises
        ------
        ValueError
            ``delta`` is negative, or an entry of the history is outside its domain.
        """
        return _epsilon(tuple(_merged(self._history)), safe_scalar(delta, "delta", 0.0))

    def get_delta(self, epsilon: float) -> float:
        """Certified upper bound of delta at ``epsilon``."""
        return float(self.privacy_loss.delta(epsilon))

    def get_optimizer_hook_fn(self, sample_rate: float) -> Callable[[Any], None]:
        """What the optimizer calls at every step, after noise was added.

        Where gradients of ``k`` batches were summed before one release, that is no more than ``k``
        releases with ``1/k`` of the noise's variance each, which is what is recorded: a record may
        be in several of the batches, so ``k`` times the sample rate would claim too little.
        """
        probability = drawn_probability(sample_rate)

        def hook(optimizer: Any) -> None:
            if isinstance(optimizer, AdaClipDPOptimizer):
                raise ValueError(
                    "adaptive clipping is not covered: it divides by the exact size of the batch, "
                    'to which no noise is added; use clipping="flat" or "per_layer"'
                )
            noise = safe_scalar(optimizer.noise_multiplier, "noise_multiplier", 0.0)
            batches = max(1, optimizer.accumulated_iterations)
            if batches > 1:
                noise = divided_down(noise, math.nextafter(math.sqrt(batches), math.inf))
            self._record(noise, probability, batches)

        return hook

    def _record(self, noise_multiplier: float, sample_rate: float, steps: int) -> None:
        _append(self._history, _checked((noise_multiplier, sample_rate, steps)))


def drawn_probability(sample_rate: float) -> float:
    """The probability with which Opacus' samplers draw a record when asked for ``sample_rate``.

    They compare ``torch.rand`` with the rate in single precision, and ``torch.rand`` returns the
    multiples of ``2^-24`` below 1: the probability is the rate rounded up to such a multiple.
    Where PyTorch's default is double precision it is the rate, to one part in ``2^52``; the larger
    of both is returned.
    """
    if not 0.0 <= sample_rate <= 1.0:
        raise ValueError(f"sample_rate must be within [0, 1], got {sample_rate!r}")
    single = math.ceil(float(np.float32(sample_rate)) * 2.0**24) * 2.0**-24
    return max(single, sample_rate)


def _checked(entry: Any) -> Entry:
    try:
        noise, rate, steps = entry
    except (TypeError, ValueError):
        raise ValueError(
            f"an entry of the history is (noise_multiplier, sample_rate, steps), got {entry!r}"
        ) from None
    noise = safe_scalar(noise, "noise_multiplier", 0.0)
    rate = safe_scalar(rate, "sample_rate", 1.0)
    steps = whole_number(steps, "steps")
    if not noise >= 0.0:
        raise ValueError(f"noise_multiplier must be a number >= 0, got {noise!r}")
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"sample_rate must be within [0, 1], got {rate!r}")
    if steps < 1:
        # Opacus' search for a noise multiplier would not end: none costs anything
        raise ValueError(f"steps must be at least 1, got {steps}: train for one batch or more")
    return noise, rate, steps


def _append(history: list[Entry], entry: Entry) -> None:
    if history and history[-1][:2] == entry[:2]:
        entry = (*entry[:2], history.pop()[2] + entry[2])
    history.append(entry)


def _merged(entries: Iterable[Any]) -> list[Entry]:
    found: list[Entry] = []
    for entry in entries:
        _append(found, _checked(entry))
    return found


def _loss(history: Iterable[Entry]) -> PrivacyLoss:
    events = [
        dp_event.SelfComposedDpEvent(
            dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)), steps
        )
        for noise, rate, steps in history
    ]
    return privacy_loss(dp_event.ComposedDpEvent(events))


@functools.lru_cache(maxsize=16)
def _epsilon(history: tuple[Entry, ...], delta: float) -> float:
    return float(_loss(history).epsilon(delta))


def _sampler_warning(data_loader: Any) -> str | None:
    """What is wrong with batches that Opacus does not draw itself, or None."""
    batches, records = data_loader.batch_sampler, data_loader.sampler
    if isinstance(batches, POISSON_SAMPLERS):
        if batches.sample_rate * len(data_loader) <= 1.0 + 1e-12:
            return None
        return (
            f"{type(batches).__name__} samples with probability {batches.sample_rate:g}, but "
            f"Opacus accounts 1/len(data_loader) = {1 / len(data_loader):g}: epsilon is understated"
        )
    plain = batches is None or type(batches).__module__.startswith("torch.")
    name = type(records if plain else batches).__name__
    return (
        f"poisson_sampling=False: batches come from {name}, but are accounted as if they were "
        "drawn by Poisson sampling; epsilon is an estimate, not a guarantee"
    )


def _name_samplers() -> None:
    """Let ``PrivacyEngine.make_private`` warn where this accountant's assumption does not hold."""
    inner = PrivacyEngine.make_private
    if hasattr(inner, "names_samplers"):
        return

    @functools.wraps(inner)
    def make_private(self: Any, *, poisson_sampling: bool = True, **kwargs: Any) -> Any:
        if not poisson_sampling and self.accountant.mechanism() == MECHANISM:
            if warning := _sampler_warning(kwargs["data_loader"]):
                warnings.warn(warning, UserWarning, stacklevel=2)
        return inner(self, poisson_sampling=poisson_sampling, **kwargs)

    make_private.names_samplers = True  # type: ignore[attr-defined]
    PrivacyEngine.make_private = make_private


register_accountant(MECHANISM, OpacusAccountant, force=True)
_name_samplers()
