"""Filters that turn independent normal rows Z into the correlated rows of D Z, step by step.

For a square strategy matrix C, D is its inverse.  A filter is an immutable value: what it
remembers between steps, a few model-sized arrays, belongs to the `mechanisms.noise.NoiseStream`
that runs it, cell of columns by cell of columns.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mechanisms.noise import kernels

__all__ = [
    "BandedFilter",
    "BufferFilter",
    "DenseFilter",
    "Independent",
    "InverseBandedFilter",
    "NoiseFilter",
    "digest_of",
]

Floats = npt.NDArray[np.float64]
# float64 or float32: a stream's dtype
Values = npt.NDArray[Any]
# row -> that row of Z on the block: float64, (width,), writable, valid until the next call
Draw = Callable[[int], Floats]


@runtime_checkable
class NoiseFilter(Protocol):
    """What turns rows of Z into rows of noise: y_t = sum_j D[t, j] Z[j].

    Columns never meet, so that a stream may cut them into blocks as it likes.
    """

    @property
    def memory(self) -> int:
        """Model-sized arrays kept between steps, >= 0."""

    @property
    def steps(self) -> int | None:
        """The number of rows that are defined, None where every number is."""

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """Write row ``step`` of the noise into ``out`` and bring ``state`` to the next step.

        Parameters
        ----------
        step
            0, 1, 2, ... in this order for each block.
        state
            Shape (memory, width), C-contiguous, of the stream's dtype; zeros before step 0.
        draw
            Row j >= 0 of Z on this block, standard normal, float64, shape (width,): always the
            same for the same j.  The array may be overwritten; the next call reuses it.
        out
            Shape (width,), contiguous, of the stream's dtype.
        """

    def digest(self) -> str:
        """A hash of the content, see `digest_of`: a saved state fits no other filter."""


def digest_of(name: str, *arrays: npt.ArrayLike) -> str:
    """SHA-256 of a filter's name and numbers, as hexadecimal digits."""
    digest = hashlib.sha256(name.encode())
    for array in arrays:
        values = np.ascontiguousarray(array, dtype="<f8")
        digest.update(f";{values.shape};".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


class _ByContent:
    """Filters are equal where their contents are; a copy is built and checked like the first."""

    def digest(self) -> str:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        parameters: tuple[Any, ...] = fields(self)  # type: ignore[arg-type]
        return type(self), tuple(getattr(self, each.name) for each in parameters if each.init)


@dataclass(frozen=True)
class Independent:
    """Fresh normals in every step: y_t = z_t."""

    memory: int = field(default=0, init=False)
    steps: int | None = field(default=None, init=False)

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """See `NoiseFilter`."""
        out[:] = draw(step)

    def digest(self) -> str:
        """See `NoiseFilter`."""
        return digest_of("independent")


@dataclass(frozen=True, eq=False)
class BandedFilter(_ByContent):
    """The inverse of a lower triangular band matrix C, by forward substitution.

    y_t = (z_t - sum_{i=1}^{p-1} C[t, t-i] y_{t-i}) / C[t, t], from the last p - 1 rows.

    Parameters
    ----------
    coefficients
        Shape (p,), the first p entries of C's first column where C is Toeplitz, for any number
        of steps; else shape (steps, p) with C[t, t-i] at [t, i], what lies left of column 0
        being ignored.  Finite; the diagonal, [0] or [:, 0], is > 0.

    Raises
    ------
    ValueError
        The coefficients have another shape, are not finite, or the diagonal is not positive.
    """

    coefficients: Floats

    def __post_init__(self) -> None:
        coefficients = _band(self.coefficients)
        if not np.all(coefficients[..., 0] > 0.0):
            raise ValueError(
                "coefficients must have a diagonal > 0, [0] or [:, 0]: a matrix without one "
                "has no inverse; give InverseBandedFilter the bands of an inverse"
            )
        object.__setattr__(self, "coefficients", coefficients)

    @property
    def memory(self) -> int:
        """The rows of noise that are kept, p - 1."""
        return int(self.coefficients.shape[-1]) - 1

    @property
    def steps(self) -> int | None:
        """See `NoiseFilter`."""
        return None if self.coefficients.ndim == 1 else len(self.coefficients)

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """See `NoiseFilter`."""
        kernels.banded(step, _of_step(self.coefficients, step), state, draw(step), out)

    def digest(self) -> str:
        """See `NoiseFilter`."""
        return digest_of("banded", self.coefficients)


@dataclass(frozen=True, eq=False)
class InverseBandedFilter(_ByContent):
    """A lower triangular band matrix D itself: y_t = sum_{i=0}^{p-1} D[t, t-i] z_{t-i}.

    Parameters
    ----------
    coefficients
        Shape (p,), the first p entries of D's first column where D is Toeplitz, for any number
        of steps; else shape (steps, p) with D[t, t-i] at [t, i].  Finite.
    regenerate
        False keeps the last p - 1 rows of Z; True keeps nothing and draws them again in every
        step, p times the work.  In float64 the noise is the same.

    Raises
    ------
    ValueError
        The coefficients have another shape or are not finite, or regenerate is not a bool.
    """

    coefficients: Floats
    regenerate: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.regenerate, bool):
            raise ValueError(f"regenerate must be True or False, got {self.regenerate!r}")
        object.__setattr__(self, "coefficients", _band(self.coefficients))

    @property
    def memory(self) -> int:
        """The rows of Z that are kept, p - 1 or 0."""
        return 0 if self.regenerate else int(self.coefficients.shape[-1]) - 1

    @property
    def steps(self) -> int | None:
        """See `NoiseFilter`."""
        return None if self.coefficients.ndim == 1 else len(self.coefficients)

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """See `NoiseFilter`."""
        coefficients = _of_step(self.coefficients, step)
        if self.regenerate:
            _combine(coefficients[: step + 1], range(step, -1, -1), draw, out)
        else:
            kernels.inverse_banded(step, coefficients, state, draw(step), out)

    def digest(self) -> str:
        """See `NoiseFilter`."""
        return digest_of("inverse_banded", self.coefficients, float(self.regenerate))


@dataclass(frozen=True, eq=False)
class BufferFilter(_ByContent):
    """The inverse of a buffered linear Toeplitz matrix (arXiv 2404.16706, algorithm 1).

    C's first column is 1 and then c_t = sum_i weights_i decay_i^{t-1}, so that with d buffers S
    y_t = z_t - sum_i weights_i S_i and S_i <- decay_i S_i + y_t.

    Parameters
    ----------
    decay
        Shape (d,), each within [0, 1].
    weights
        Shape (d,), finite.

    Raises
    ------
    ValueError
        A parameter is outside its domain.
    """

    decay: Floats
    weights: Floats

    def __post_init__(self) -> None:
        decay = _numbers(self.decay, "decay", (1,))
        weights = _numbers(self.weights, "weights", (1,))
        if decay.shape != weights.shape:
            raise ValueError(
                "decay and weights must have one number for each buffer, "
                f"got {decay.size} and {weights.size}"
            )
        if not np.all((decay >= 0.0) & (decay <= 1.0)):
            raise ValueError("decay must be within [0, 1]: a buffer that grows overflows")
        object.__setattr__(self, "decay", decay)
        object.__setattr__(self, "weights", weights)

    @property
    def memory(self) -> int:
        """The number of buffers, d."""
        return self.decay.size

    @property
    def steps(self) -> None:
        """See `NoiseFilter`."""
        return None

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """See `NoiseFilter`."""
        kernels.buffered(self.decay, self.weights, state, draw(step), out)

    def digest(self) -> str:
        """See `NoiseFilter`."""
        return digest_of("buffers", self.decay, self.weights)


@dataclass(frozen=True, eq=False)
class DenseFilter(_ByContent):
    """Any matrix D: y_t = sum_j D[t, j] z_j, the rows of Z drawn again in every step.

    Nothing is kept between steps; a row takes as many draws as D's row has entries other than 0.

    Parameters
    ----------
    decoder
        D, shape (steps, rows), finite.

    Raises
    ------
    ValueError
        The decoder is not a finite matrix.
    """

    decoder: Floats
    memory: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", _numbers(self.decoder, "decoder", (2,)))

    @property
    def steps(self) -> int:
        """See `NoiseFilter`."""
        return len(self.decoder)

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """See `NoiseFilter`."""
        row = self.decoder[step]
        rows = np.flatnonzero(row)
        _combine(row[rows], rows.tolist(), draw, out)

    def digest(self) -> str:
        """See `NoiseFilter`."""
        return digest_of("dense", self.decoder)


def _numbers(values: npt.ArrayLike, name: str, dimensions: tuple[int, ...]) -> Floats:
    """A read-only copy of finite real numbers, as float64 with one of the numbers of axes."""
    try:
        given = np.asarray(values)
    except ValueError:
        given = np.empty(0, dtype=object)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be an array of real numbers")
    if given.ndim not in dimensions or given.size == 0:
        axes = " or ".join(str(n) for n in dimensions)
        raise ValueError(f"{name} must have {axes} axes and no empty one, got {given.shape}")
    array = np.array(given, dtype=np.float64, order="C")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite: NaN and infinity are no noise")
    array.setflags(write=False)
    return array


def _band(values: npt.ArrayLike) -> Floats:
    """Coefficients (p,) or (steps, p); what would lie left of the first column is zero."""
    band = _numbers(values, "coefficients", (1, 2))
    if band.ndim == 2 and band.shape[1] > 1:
        band = np.array(band)
        rows, bands = np.ogrid[: band.shape[0], : band.shape[1]]
        band[bands > rows] = 0.0
        band.setflags(write=False)
    return band


def _of_step(coefficients: Floats, step: int) -> Floats:
    return coefficients if coefficients.ndim == 1 else coefficients[step]


def _combine(weights: Floats, rows: "range | list[int]", draw: Draw, out: Values) -> None:
    """``out`` <- sum_k weights[k] Z[rows[k]]."""
    total = np.zeros(out.size)
    for weight, row in zip(weights.tolist(), rows, strict=False):
        kernels.add(weight, draw(row), total)
    out[:] = total
