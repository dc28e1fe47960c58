"""A run as a ``dp_accounting`` event, for the contenders that speak events."""

from __future__ import annotations

import dp_accounting

from benchmarks.tasks import Run


def event_of(run: Run) -> dp_accounting.DpEvent:
    """Compose everything that the run releases."""
    events: list[dp_accounting.DpEvent] = [
        dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(
                phase.sampling_probability, dp_accounting.GaussianDpEvent(phase.noise_multiplier)
            ),
            phase.steps,
        )
        for phase in run.phases
    ]
    if run.laplace_scale is not None:
        events.append(dp_accounting.LaplaceDpEvent(run.laplace_scale))
    if run.gaussian_noise_multiplier is not None:
        events.append(dp_accounting.GaussianDpEvent(run.gaussian_noise_multiplier))
    return events[0] if len(events) == 1 else dp_accounting.ComposedDpEvent(events)
