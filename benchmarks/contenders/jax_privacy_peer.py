"""jax-privacy's matrix factorizations, by the optimizers and defaults that it documents."""

from __future__ import annotations

import os
import time
from typing import Any

# JAX compiles and runs on as many threads as there are cores, and finds one.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import jax
import numpy as np
from jax_privacy.matrix_factorization import banded, buffered_toeplitz, dense, toeplitz

from benchmarks.contenders.base import Contender, NotOfferedError, floats
from benchmarks.matrix_tasks import Design

jax.config.update("jax_enable_x64", True)

_COMPILING = "/jax/core/compile/"


class MatrixFactorization(Contender):
    """Every call compiles anew, as `jax_privacy.matrix_factorization.optimization` does."""

    def __init__(self) -> None:
        self._depth = 0
        self._began = 0.0
        # JAX tells when tracing, lowering and compiling begin and end; they may be nested.
        jax.monitoring.register_scalar_listener(self._begin)
        jax.monitoring.register_event_duration_secs_listener(self._end)

    def strategy(self, design: Design, stop_after: float | None) -> list[float]:
        if design.family == "banded Toeplitz":
            return floats(_toeplitz(design))
        if design.family == "BLT":
            found = buffered_toeplitz.optimize(
                n=design.steps,
                min_sep=design.separation,
                max_participations=design.participations,
                error=design.objective,
                min_buffers=design.size,
                max_buffers=design.size,
            )
            return floats([*found.buf_decay, *found.output_scale])
        if design.objective != "mean":
            raise NotOfferedError("tuned optimizer of the largest error")
        if design.family == "banded":
            return floats(_banded(design, stop_after))
        return floats(_dense(design, stop_after))

    def _begin(self, event: str, value: float, **_: Any) -> None:
        if event.startswith(_COMPILING):
            if self._depth == 0:
                self._began = time.process_time()
            self._depth += 1

    def _end(self, event: str, seconds: float, **_: Any) -> None:
        if event.startswith(_COMPILING) and self._depth > 0:
            self._depth -= 1
            if self._depth == 0:
                self.compile_seconds += time.process_time() - self._began


def _toeplitz(design: Design) -> Any:
    if design.size > design.separation and design.participations > 1:
        raise NotOfferedError("more bands than steps of separation")
    reduction = jax.numpy.mean if design.objective == "mean" else jax.numpy.max
    return toeplitz.optimize_banded_toeplitz(design.steps, design.size, reduction_fn=reduction)


def _banded(design: Design, stop_after: float | None) -> Any:
    stop = _after(stop_after)
    found = banded.optimize(design.steps, bands=design.size, callback=lambda _: stop())
    # its matrix has these columns, divided by their norms
    columns = np.asarray(found.params)
    return (columns / np.linalg.norm(columns, axis=1, keepdims=True)).ravel()


def _dense(design: Design, stop_after: float | None) -> Any:
    stop = _after(stop_after)
    several = design.participations > 1
    found = dense.optimize(
        design.steps,
        # as its documentation says for a minimum separation
        bands=design.size or None,
        equal_norm=several,
        callback=lambda info: dense.pg_tol_termination_fn(info) or stop(),
    )
    return np.asarray(found)[np.tril_indices(design.steps)]


def _after(seconds: float | None) -> Any:
    """What says whether so much CPU time has gone since now."""
    began = time.process_time()
    return lambda: seconds is not None and time.process_time() - began > seconds
