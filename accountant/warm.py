"""Compile every kernel into numba's cache: ``python -m accountant.warm``, done once at set-up."""

from __future__ import annotations

import time

import dp_accounting

from accountant import privacy_loss
from accountant.losses.renyi import ZeroConcentrated
from accountant.losses.renyi_sampling import PoissonSampled
from accountant.losses.sparsified import PoissonSampledSparsifiedGaussian
from accountant.tree_aggregation import squared_sensitivity


def warm() -> float:
    """Run every kernel once; returns the seconds it took."""
    start = time.perf_counter()
    event = dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.0))
    loss = 100 * privacy_loss(event)
    loss.epsilon(1e-5)
    loss.fnr(0.1)
    squared_sensitivity(16, 2, 3)
    PoissonSampled(ZeroConcentrated(0.1), 0.1).renyi(3.0)
    PoissonSampledSparsifiedGaussian(1.0, 0.5, 0.5, 8, 0.1).renyi(3.0)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(f"kernels ready after {warm():.1f} s")
