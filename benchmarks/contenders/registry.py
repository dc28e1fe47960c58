"""Who takes part, and where each one lives."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from benchmarks.contenders.base import Contender


@dataclass(frozen=True)
class Entry:
    """A contender: its name in the tables, its adapter, and the distribution it comes from."""

    name: str
    module: str
    class_name: str
    distribution: str
    note: str = ""

    def load(self) -> Contender:
        """Import the adapter, and the library with it."""
        contender = getattr(importlib.import_module(self.module), self.class_name)()
        assert isinstance(contender, Contender)
        return contender


def _entry(name: str, module: str, class_name: str, distribution: str, note: str = "") -> Entry:
    return Entry(name, f"benchmarks.contenders.{module}", class_name, distribution, note)


_OPAKE = "opake-accounting declares Python 3.11, but imports only from 3.12 on."
_RISKCAL = "riskcal's epsilons are dp-accounting's; only its trade-off curve is measured."
_HAND = (
    "“By hand”: dp-accounting's distributions composed without its accountant, which does not take "
    "every mechanism that it has a distribution for."
)
_FFT = (
    "PLD_accounting's default for random allocation is its geometric grid; “FFT” is its other "
    "method, on the same loss discretization of 0.01."
)

OURS = _entry("dp-planner", "ours", "Ours", "dp-planner")
OURS_DESIGNS = _entry("dp-planner, designs", "matrix_ours", "Designs", "dp-planner")
JAX_PRIVACY = _entry("jax-privacy", "jax_privacy_peer", "MatrixFactorization", "jax-privacy")
# Beside the others where lattices answer, whose cost the width decides.
OURS_QUICK = _entry("dp-planner, rtol 1e-3", "ours", "OursQuick", "dp-planner")
# Further ways into a library that matter for compositions other than runs of DP-SGD.
BEYOND_TRAINING = (
    _entry(
        "dp-accounting PLD, by hand", "dp_accounting_peer", "ComposedByHand", "dp-accounting", _HAND
    ),
    _entry("PLD_accounting, FFT", "pld_accounting_peer", "AllocationByFft", "pld-accounting", _FFT),
)
PEERS = (
    _entry("dp-accounting PLD", "dp_accounting_peer", "PrivacyLossDistributions", "dp-accounting"),
    _entry("dp-accounting RDP", "dp_accounting_peer", "RenyiDp", "dp-accounting"),
    _entry("PLD_accounting", "pld_accounting_peer", "SubsampledPlds", "pld-accounting"),
    _entry("prv-accountant", "prv_accountant_peer", "PrivacyRandomVariables", "prv-accountant"),
    _entry("opacus PRV", "opacus_peer", "Prv", "opacus"),
    _entry("opacus RDP", "opacus_peer", "Rdp", "opacus"),
    _entry("opacus GDP", "opacus_peer", "Gdp", "opacus"),
    _entry("opake, grid 1e-4", "opake_peer", "FineGrid", "opake-accounting", _OPAKE),
    _entry("opake, grid 1e-3", "opake_peer", "CoarseGrid", "opake-accounting", _OPAKE),
    _entry("riskcal", "riskcal_peer", "ConnectTheDots", "riskcal", _RISKCAL),
)


def by_name(name: str) -> Entry:
    """Return the entry called ``name``."""
    return next(
        entry
        for entry in (OURS, OURS_QUICK, OURS_DESIGNS, JAX_PRIVACY, *BEYOND_TRAINING, *PEERS)
        if entry.name == name
    )
