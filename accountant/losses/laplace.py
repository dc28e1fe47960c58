"""The Laplace loss: closed forms of its moment generating function and of delta."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

ULP = 2.0**-52
Floats = npt.NDArray[np.float64]


def laplace_cumulants(scale: float, z: float) -> tuple[float, float, float, float]:
    """K(z) = log E_P[exp(z L)], two derivatives, and an error bound; unit sensitivity, z >= 0.

    ``E_P[exp(z L)] = ((z+1) e^{z/b} + z e^{-(z+1)/b}) / (2z+1)`` (Mironov 2017, Proposition 6).
    """
    s = 2.0 * z + 1.0
    e = math.exp(-s / scale)
    inner = math.log1p(z * math.expm1(-s / scale) / s)
    b0 = math.exp(inner)
    b1 = (e - 1.0) / (s * s) - 2.0 / scale * z * e / s
    b2 = -4.0 * (e - 1.0) / s**3 - 4.0 / scale * e / (s * s) + 4.0 / (scale * scale) * z * e / s
    mean = 1.0 / scale + b1 / b0
    error = 8.0 * ULP * (z / scale + abs(inner))
    return z / scale + inner, mean, b2 / b0 - (b1 / b0) ** 2, error


def laplace_line(scale: float, theta: float, t: Floats) -> tuple[Floats, Floats, Floats]:
    """Log phi(theta + i t): real part, imaginary part (up to 2 pi), error bound."""
    z = theta + 1j * t
    s = 2.0 * z + 1.0
    inner = 1.0 + z * np.expm1(-s / scale) / s
    log_value = z / scale + np.log(inner)
    size = np.abs(z) / scale
    error = 16.0 * ULP * (1.0 + size + 2.0 / np.abs(inner))
    # near phi = 1 the error is that of the parts, not of 1
    small = np.abs(z * np.expm1(-s / scale) / s) < 0.5
    error = np.where(small, 16.0 * ULP * (size + np.abs(log_value)), error)
    return log_value.real, log_value.imag, error


def laplace_delta(scale: float, epsilon: float) -> tuple[float, float]:
    """Bounds on delta of one Laplace release: 1 - exp((epsilon - 1/b)/2), epsilon >= -1/b."""
    largest = 1.0 / scale
    if epsilon >= largest * (1.0 + 2.0 * ULP):
        return 0.0, 0.0
    if epsilon <= -largest:
        value = -math.expm1(epsilon)
        return max(0.0, value * (1.0 - 8.0 * ULP)), value * (1.0 + 8.0 * ULP)
    value = -math.expm1(0.5 * (epsilon - largest))
    error = 8.0 * ULP * (value + abs(epsilon) + largest)
    return max(0.0, value - error), min(1.0, max(0.0, value) + error)


__all__ = ["laplace_cumulants", "laplace_delta", "laplace_line"]
