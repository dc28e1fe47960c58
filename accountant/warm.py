"""Compile every kernel into numba's cache: ``python -m accountant.warm``, done once at set-up."""

from __future__ import annotations

import time

import dp_accounting

from accountant import privacy_loss


def warm() -> float:
    """Run every kernel once; returns the seconds it took."""
    start = time.perf_counter()
    event = dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.0))
    loss = 100 * privacy_loss(event)
    loss.epsilon(1e-5)
    loss.fnr(0.1)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(f"kernels ready after {warm():.1f} s")
