"""Compile every kernel into numba's cache: ``python -m mechanisms.warm``, done once at set-up."""

import time

import numpy as np

from accountant import warm as accountant_warm
from mechanisms.amplification import balls_in_bins_loss
from mechanisms.participation import BallsInBins, MinSeparation
from mechanisms.strategies import (
    BLT,
    Banded,
    BandedToeplitz,
    BinaryTree,
    Dense,
    InverseBandedToeplitz,
    PrefixTree,
    SquareRoot,
    Strategy,
)
from mechanisms.workloads import learning_rates

__all__ = ["warm"]


def warm() -> float:
    """Run every kernel once; returns the seconds it took."""
    start = time.perf_counter()
    accountant_warm.warm()
    steps, apart = 12, MinSeparation(3, 2)
    rates = learning_rates(np.linspace(1.0, 0.5, steps))
    for objective in ("mean", "max"):
        for bands in (2, 5):
            BandedToeplitz.optimize(
                steps=steps, bands=bands, participation=apart, objective=objective
            )
        BLT.optimize(steps=steps, buffers=2, participation=apart, objective=objective)
    BLT.optimize(steps=steps, buffers=1, participation=apart, workload=rates)
    strategies: tuple[Strategy, ...] = (
        BLT.optimize(steps=steps, buffers=2),
        BandedToeplitz.square_root(steps, 3),
        InverseBandedToeplitz.square_root(steps, 3),
        SquareRoot(steps),
        BinaryTree(steps),
        BinaryTree(steps, estimator="online"),
        PrefixTree(steps),
        Banded.optimize(steps=steps, bands=2, participation=apart),
        Dense.optimize(steps=steps, participation=MinSeparation(2)),
    )
    for strategy in strategies:
        strategy.rmse(participation=apart)
        strategy.rmse(rates)
        for _ in strategy.noise(4):
            pass
    balls_in_bins_loss(BLT(8, (0.9,), (0.3,)), BallsInBins(4, 2), 1.0).epsilon(1e-5)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(f"kernels ready after {warm():.1f} s")
