"""The tables of docs/sparsified.md: compression against error at equal epsilon.

``python -m benchmarks.sparsified_table --write`` computes them anew in place.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.markdown import table
from mechanisms.compression import Comparison, compare, sparsest
from mechanisms.sparsified import SparsifiedGaussianMechanism

DOCUMENT = Path(__file__).parent.parent / "docs" / "sparsified.md"
DELTA = 1e-6
# Bound of the largest coordinate over the root mean square, of vectors rotated at random.
ROTATED = 6.0


@dataclass(frozen=True)
class Setting:
    """A training run, and how flat its clipped vectors are."""

    name: str
    dimension: int
    clients: int
    sampling_probability: float
    rounds: int
    epsilon: float
    peak: float = ROTATED

    def mechanism(self, keep_probability: float = 0.5) -> SparsifiedGaussianMechanism:
        return SparsifiedGaussianMechanism(
            clip_norm=1.0,
            coordinate_clip=min(1.0, self.peak / math.sqrt(self.dimension)),
            keep_probability=keep_probability,
            dimension=self.dimension,
            clients=self.clients,
            rounds=self.rounds,
            client_sampling_probability=self.sampling_probability,
        )


SETTINGS = (
    Setting("one mean", 10**6, 1_000, 1.0, 1, 1.0),
    Setting("100 rounds, everyone", 10**6, 1_000, 1.0, 100, 4.0),
    Setting("1,000 rounds, everyone", 10**6, 1_000, 1.0, 1_000, 4.0),
    Setting("1,000 rounds, everyone, large model", 10**7, 1_000, 1.0, 1_000, 8.0),
    Setting("1,000 rounds, 1 % sampled", 10**6, 10_000, 0.01, 1_000, 1.0),
    Setting("1,000 rounds, 1 % sampled, large model", 10**7, 100_000, 0.01, 1_000, 1.0),
    Setting("1,000 rounds, 1 % sampled, very large model", 10**8, 100_000, 0.01, 1_000, 4.0),
)
WITHIN = (0.01, 0.05)
# Where the error goes as coordinates are dropped, and as vectors are less flat.
PEAKS = (6.0, 30.0, 1_000.0)
KEPT = (0.1, 0.01, 0.001)


def sparsest_rows() -> list[list[str]]:
    """One row for each setting and error."""
    rows = []
    for setting in SETTINGS:
        for within in WITHIN:
            rows.append(sparsest_row(setting, within))
    return rows


def sparsest_row(setting: Setting, within: float) -> list[str]:
    found = sparsest(setting.mechanism(), setting.epsilon, DELTA, within=within)
    exact = compare(found.compressed, setting.epsilon, DELTA)
    return [
        setting.name,
        f"1e{round(math.log10(setting.dimension))}",
        f"{setting.epsilon:g}",
        f"{found.compressed.keep_probability:.3g}",
        f"{found.bits_per_client / 8e3:,.0f} kB",
        f"{found.compression:,.0f}x",
        f"{by_seed(found):,.0f}x",
        f"{found.error_ratio:.3f}",
        f"{exact.error_ratio:.3f}",
    ]


def by_seed(found: Comparison) -> float:
    """Compression where the mask is sent as a seed."""
    return found.uncompressed_bits / found.compressed.bits_per_client(positions="seed")


def flatness_rows() -> list[list[str]]:
    """The second setting, by the vectors' flatness and what is kept."""
    return [flatness_row(peak, keep) for peak in PEAKS for keep in KEPT]


def flatness_row(peak: float, keep: float) -> list[str]:
    setting = replace(SETTINGS[1], peak=peak)
    found = compare(setting.mechanism(keep), setting.epsilon, DELTA, same_accounting=True)
    ratio = _noise(found.compressed) / keep / _noise(found.uncompressed)
    return [
        f"{peak:g}",
        f"{keep:g}",
        f"{found.compression:,.0f}x",
        f"{ratio:.4g}",
        f"{found.error_ratio:.4g}",
    ]


def _noise(mechanism: SparsifiedGaussianMechanism) -> float:
    assert mechanism.noise_multiplier is not None
    return mechanism.noise_multiplier


def tables() -> dict[str, str]:
    """Each table by the name of its place in the document."""
    return {
        "sparsest": table(
            [
                "setting",
                "d",
                "epsilon",
                "kept",
                "per client",
                "compression",
                "by seed",
                "error ratio",
                "to exact",
            ],
            sparsest_rows(),
        ),
        "flatness": table(
            ["peak over r.m.s.", "kept", "compression", "noise ratio", "error ratio"],
            flatness_rows(),
        ),
    }


def written(document: str) -> str:
    """The document with its tables computed anew."""
    for name, text in tables().items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = document.split(start)
        document = before + start + text + end + rest.split(end)[1]
    return document


if __name__ == "__main__":
    fresh = written(DOCUMENT.read_text())
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(fresh)
    else:
        print("\n".join(tables().values()))
