"""Where a stream's normal numbers come from: by row and cell of columns, in any order.

A source is a key, a secret; row t of Z on a cell of `CELL` columns is a function of the key, t and
the cell.  Nothing else is remembered, so that rows can be drawn again, cells in parallel, and a
run resumed.
"""

import hashlib
import math
import secrets
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["CELL", "NormalSource", "PhiloxSource", "SecureSource", "as_source"]

Floats = npt.NDArray[np.float64]

# Columns that share one counter: 256 KiB of normals, which stay in a second-level cache.
CELL = 2**15


@runtime_checkable
class NormalSource(Protocol):
    """Independent standard normals, indexed by row and cell."""

    def normals(self, row: int, cell: int, out: Floats) -> None:
        """Write Z[row, cell * CELL : cell * CELL + width] into ``out``, width <= CELL.

        Always the same for the same row and cell, and safe to call from several threads.
        """


@dataclass(frozen=True)
class PhiloxSource:
    """NumPy's ziggurat on Philox 4x64, the counter starting at (0, 0, cell, row).

    Philox (Salmon et al. 2011) passes the statistical tests in use but is no cipher: whoever
    sees many normals exactly might find the key.  `SecureSource` promises more.

    Parameters
    ----------
    key
        16 bytes, secret.
    """

    kind: ClassVar[str] = "philox"
    key_bytes: ClassVar[int] = 16

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_key(self.key, self.key_bytes)

    def normals(self, row: int, cell: int, out: Floats) -> None:
        """See `NormalSource`."""
        key = np.frombuffer(self.key, dtype="<u8")
        counter = np.array([0, 0, cell, row], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(counter=counter, key=key))
        generator.standard_normal(out=out)


@dataclass(frozen=True)
class SecureSource:
    """The inverse normal distribution function of AES-256's key stream in counter mode.

    The stream cannot be told from true random bits by anyone who could not break AES; column j of
    row t is made of the eight bytes from 16 (2^64 t) + 8 j on, so each number takes the same
    randomness.  A word gives a sign and a probability p = (m + 1/2) / 2^64, 0 <= m < 2^63; the
    number is the upper p-quantile (Wichura 1988, AS 241), correct to 1e-15 of itself.  Magnitudes
    run from 6.8e-20 to 9.15.

    Parameters
    ----------
    key
        32 bytes, secret.

    Raises
    ------
    ImportError
        The package cryptography is not installed.
    """

    kind: ClassVar[str] = "aes-256-ctr"
    key_bytes: ClassVar[int] = 32

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_key(self.key, self.key_bytes)
        _ciphers()

    def normals(self, row: int, cell: int, out: Floats) -> None:
        """See `NormalSource`."""
        ciphers = _ciphers()
        counter = (row << 64) + cell * (CELL // 2)
        mode = ciphers.modes.CTR(counter.to_bytes(16, "big"))
        encryptor = ciphers.Cipher(ciphers.algorithms.AES(self.key), mode).encryptor()
        words = np.frombuffer(encryptor.update(bytes(8 * out.size)), dtype="<u8")
        _normal_quantiles(words, out)


def as_source(rng: Any) -> NormalSource:
    """Return the source that ``rng`` stands for, as `mechanisms.noise.NoiseStream` describes."""
    if rng is None:
        return PhiloxSource(secrets.token_bytes(PhiloxSource.key_bytes))
    if isinstance(rng, str) and rng == "secure":
        return SecureSource(secrets.token_bytes(SecureSource.key_bytes))
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
        rng = np.random.SeedSequence(int(rng))
    if isinstance(rng, np.random.SeedSequence):
        words = rng.generate_state(PhiloxSource.key_bytes // 8, np.uint64)
        return PhiloxSource(words.astype("<u8").tobytes())
    if isinstance(rng, np.random.Generator):
        return PhiloxSource(rng.bytes(PhiloxSource.key_bytes))
    if isinstance(rng, NormalSource) and not isinstance(rng, type):
        return rng
    # the value may be a seed: it stays out of the message
    raise ValueError(
        'rng must be None for fresh entropy, "secure", a whole number >= 0, a SeedSequence, a '
        f"Generator or a source of normals, got something else, a {type(rng).__name__}"
    )


def source_of(kind: str, key: bytes) -> "PhiloxSource | SecureSource":
    """Return the source of a saved state."""
    for source in (PhiloxSource, SecureSource):
        if source.kind == kind:
            return source(key)
    raise ValueError(f"a source of normals is of kind philox or aes-256-ctr, got {kind[:40]!r}")


@cache
def sampler_digest(kind: str) -> str:
    """A hash of normals under a key of zeros: other versions of a library may draw others."""
    key_bytes = SecureSource.key_bytes if kind == SecureSource.kind else PhiloxSource.key_bytes
    values = np.empty(CELL)
    source_of(kind, bytes(key_bytes)).normals(0, 0, values)
    return hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()


def _check_key(key: object, size: int) -> None:
    if not isinstance(key, bytes) or len(key) != size:
        raise ValueError(f"a key must be {size} secret random bytes; rng=None draws a fresh one")


@cache
def _ciphers() -> Any:
    try:
        return import_module("cryptography.hazmat.primitives.ciphers")
    except ImportError as error:
        raise ImportError(
            'secure noise needs the package cryptography: pip install "dp-planner[secure]"'
        ) from error


# Wichura, Algorithm AS 241: The percentage points of the normal distribution, Applied Statistics
# 37 (1988), PPND16: numerators and denominators near the median, in the tail, and far out in it.
_A = (
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
_B = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
_C = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)
_D = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
_E = (
    6.65790464350110377720e0,
    5.46378491116411436990e0,
    1.78482653991729133580e0,
    2.96560571828504891230e-1,
    2.65321895265761230930e-2,
    1.24266094738807843860e-3,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
_F = (
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)


@njit(cache=True, nogil=True)
def _ratio(p: tuple[float, ...], q: tuple[float, ...], x: float) -> float:
    above = ((((((p[7] * x + p[6]) * x + p[5]) * x + p[4]) * x + p[3]) * x + p[2]) * x + p[1]) * x
    below = ((((((q[7] * x + q[6]) * x + q[5]) * x + q[4]) * x + q[3]) * x + q[2]) * x + q[1]) * x
    return (above + p[0]) / (below + q[0])


@njit(cache=True, nogil=True)
def _normal_quantiles(words: npt.NDArray[np.uint64], out: Floats) -> None:
    half = np.uint64(1) << np.uint64(63)
    for j in range(words.size):
        m = words[j] & (half - np.uint64(1))
        # 1/2 - p: from a difference of whole numbers, so that nothing cancels near the median
        q = (float(half - m) - 0.5) * 2.0**-64
        if q <= 0.425:
            x = q * _ratio(_A, _B, 0.180625 - q * q)
        else:
            r = math.sqrt(-math.log((float(m) + 0.5) * 2.0**-64))
            x = _ratio(_C, _D, r - 1.6) if r <= 5.0 else _ratio(_E, _F, r - 5.0)
        out[j] = x if words[j] & half else -x
