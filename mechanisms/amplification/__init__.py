"""Amplification of correlated noise by what is secret about who takes part when.

Noise multipliers are the noise's standard deviation over (clipping norm times the strategy's
sensitivity to the participation), the sensitivity being what is not amplified: the largest column
norm under cyclic Poisson sampling, the longest mode under balls in bins.

- `cyclic_poisson_event`, `optimal_bands`: banded strategies with cyclic Poisson sampling.
- `balls_in_bins_loss`, `balls_in_bins_event`, `balls_in_bins_noise_multiplier`: any strategy with
  balls in bins, certified.
- `sampled_delta`, `sampled_epsilon`: balls in bins by sampling, with a stated confidence.

Theorems and proofs: docs/amplification.md.
"""

from mechanisms.amplification.balls_in_bins import (
    balls_in_bins_epsilon,
    balls_in_bins_event,
    balls_in_bins_loss,
    balls_in_bins_noise_multiplier,
)
from mechanisms.amplification.cyclic_poisson import (
    BandChoice,
    BandTable,
    cyclic_poisson_event,
    optimal_bands,
)
from mechanisms.amplification.monte_carlo import (
    SampledDelta,
    SampledEpsilon,
    sampled_delta,
    sampled_epsilon,
)

__all__ = [
    "BandChoice",
    "BandTable",
    "SampledDelta",
    "SampledEpsilon",
    "balls_in_bins_epsilon",
    "balls_in_bins_event",
    "balls_in_bins_loss",
    "balls_in_bins_noise_multiplier",
    "cyclic_poisson_event",
    "optimal_bands",
    "sampled_delta",
    "sampled_epsilon",
]
