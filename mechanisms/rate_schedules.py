"""Learning rates over a run, which start at 1: for `mechanisms.workloads.learning_rates`."""

import numpy as np
import numpy.typing as npt

from accountant.parameters import short, whole_count

__all__ = ["constant_rate", "cooldown_rate", "cosine_rate", "linear_decay_rate"]

Array = npt.NDArray[np.float64]


def constant_rate(steps: int) -> Array:
    """Learning rates that stay at 1, of shape (steps,)."""
    return np.ones(whole_count(steps, "steps", 1))


def cosine_rate(steps: int, final: float = 0.01) -> Array:
    """Learning rates from 1 to `final` along half a cosine (arXiv 1608.03983), shape (steps,).

    `final` is within (0, 1], and reached in the last step.
    """
    end = _final(final)
    return end + (1.0 - end) * 0.5 * (1.0 + np.cos(np.pi * _progress(steps)))


def linear_decay_rate(steps: int, final: float = 0.01) -> Array:
    """Learning rates from 1 to `final` along a line, of shape (steps,)."""
    return 1.0 + (_final(final) - 1.0) * _progress(steps)


def cooldown_rate(steps: int, cooldown: int, final: float = 0.01) -> Array:
    """Learning rates of 1, but for the last `cooldown` steps, which fall to `final` along a line.

    Shape (steps,); `cooldown` is within [1, steps].
    """
    count = whole_count(steps, "steps", 1)
    last = whole_count(cooldown, "cooldown", 1)
    if last > count:
        raise ValueError(f"cooldown must be at most the {count} steps, got {last}")
    rates = np.ones(count)
    rates[count - last :] += (_final(final) - 1.0) * np.arange(1, last + 1) / last
    return rates


def _progress(steps: int) -> Array:
    count = whole_count(steps, "steps", 1)
    return np.arange(count) / max(1, count - 1)


def _final(value: float) -> float:
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if isinstance(value, bool) or not is_number or not 0.0 < value <= 1.0:
        raise ValueError(f"final must be within (0, 1], got {short(value)}")
    return float(value)
