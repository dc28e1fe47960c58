"""Where a stream of noise stands, and its file: an .npz of a header and the buffers.

The file holds the key, so whoever reads it knows the noise: it is written with mode 0600.  Reading
never unpickles, and allocates only what the filter at hand asks for and the file really holds.
The checksum finds accidents; only whoever keeps the file can exclude forgery.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from mechanisms.noise.filters import NoiseFilter

__all__ = ["NoiseState", "read_state", "write_state"]

FORMAT = "dp-planner noise, version 1"
_HEADER, _BUFFERS = "header.npy", "buffers.npy"
_LARGEST_HEADER = 4096  # bytes; one takes about 600
_CHUNK = 2**24
_EARLIEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, repr=False)
class NoiseState:
    """All that the rest of a stream depends on, but for its filter.  The key is a secret.

    Parameters
    ----------
    dimension, steps, step
        Columns, rows in all, and rows already given.
    dtype
        "float64" or "float32".
    source, key, sampler
        The kind of the source of normals, its key in hexadecimal digits, and the hash of what it
        draws under a key of zeros.
    filter
        The filter's digest.
    """

    dimension: int
    steps: int
    step: int
    dtype: str
    source: str
    key: str
    sampler: str
    filter: str

    def __repr__(self) -> str:
        return f"NoiseState(step {self.step} of {self.steps}, dimension {self.dimension})"


def write_state(path: str | os.PathLike[str], state: NoiseState, buffers: npt.NDArray[Any]) -> None:
    """Write a state, readable by the owner alone; the file is replaced as a whole or not at all."""
    path = Path(path)
    document = {"format": FORMAT, **_values(state), "sha256": _checksum(state, buffers)}
    header = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
    # mkstemp's files have mode 0600
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for member, array in ((_HEADER, header), (_BUFFERS, buffers)):
                    info = zipfile.ZipInfo(member, _EARLIEST)
                    with archive.open(info, "w", force_zip64=True) as stream:
                        npy.write_array(stream, array, version=(1, 0), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_state(
    path: str | os.PathLike[str], noise_filter: NoiseFilter
) -> tuple[NoiseState, npt.NDArray[Any]]:
    """Return the state in a file and its buffers, shape (memory * dimension,).

    Raises
    ------
    ValueError
        The file is no state, is damaged, or belongs to another filter.
    """
    with open(path, "rb") as file:
        try:
            state, checksum, buffers = _read(file, noise_filter)
        except MemoryError:
            raise
        except Exception as error:  # whatever parsers raise on bytes that somebody made up
            raise _refused(path, error) from None
    if _checksum(state, buffers) != checksum:
        raise _refused(path, ValueError("its checksum does not match"))
    return state, buffers


def _read(file: IO[bytes], noise_filter: NoiseFilter) -> tuple[NoiseState, str, npt.NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(archive.infolist()) != 2 or members.keys() != {_HEADER, _BUFFERS}:
            raise ValueError(f"it must hold exactly {_HEADER} and {_BUFFERS}")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError("it must not be compressed")
        with archive.open(members[_HEADER]) as stream:
            state, checksum = _parse(_array_of(stream, np.dtype(np.uint8), None, _LARGEST_HEADER))
        if state.filter != noise_filter.digest():
            raise ValueError("it belongs to another filter, or to one with other coefficients")
        with archive.open(members[_BUFFERS]) as stream:
            size = noise_filter.memory * state.dimension
            buffers = _array_of(
                stream, np.dtype(state.dtype), size, os.fstat(file.fileno()).st_size
            )
    return state, checksum, buffers


def _refused(path: str | os.PathLike[str], error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(f"{os.fspath(path)} is not the saved state of this noise stream: {reason}")


def _values(state: NoiseState) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in fields(state)}


def _checksum(state: NoiseState, buffers: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256(json.dumps(_values(state)).encode())
    digest.update(buffers.view(np.uint8).data)
    return digest.hexdigest()


def _array_of(
    stream: IO[bytes], dtype: np.dtype[Any], size: int | None, limit: int
) -> npt.NDArray[Any]:
    """A member as a vector of at most ``limit`` bytes; what it says of itself is checked first."""
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("its arrays must be in version 1.0 of the format")
    shape, _, found = npy.read_array_header_1_0(stream, max_header_size=_LARGEST_HEADER)
    if len(shape) != 1 or found != dtype or (size is not None and shape != (size,)):
        raise ValueError(f"an array has shape {shape} and type {found}, which does not fit")
    if not 0 <= shape[0] * dtype.itemsize <= limit:
        raise ValueError("an array says that it is larger than what is stored")
    array = np.empty(shape, dtype=dtype)
    view = array.view(np.uint8).data
    for start in range(0, view.nbytes, _CHUNK):
        part = view[start : start + _CHUNK]
        data = stream.read(part.nbytes)
        if len(data) != part.nbytes:
            raise ValueError("an array ends early")
        part[:] = data
    # reading the end is what makes zipfile check its own checksum too
    if stream.read(1):
        raise ValueError("an array is longer than it says")
    return array


def _parse(header: npt.NDArray[Any]) -> tuple[NoiseState, str]:
    document = json.loads(header.tobytes().decode())
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise ValueError(f"it must be of the format {FORMAT!r}")
    checksum = document.pop("sha256", None)
    wanted = {field.name: field.type for field in fields(NoiseState)}
    if document.keys() != wanted.keys() or not isinstance(checksum, str):
        raise ValueError(f"its header must give sha256, {', '.join(wanted)}")
    for name, kind in wanted.items():
        if type(document[name]) is not kind:
            raise ValueError(f"{name} has the wrong type")
    state = NoiseState(**document)
    if not 1 <= state.dimension <= 2**53 or not 0 <= state.step <= state.steps <= 2**53:
        raise ValueError("dimension, steps or step are out of range")
    if state.dtype not in ("float64", "float32"):
        raise ValueError("dtype must be float64 or float32")
    return state, checksum
