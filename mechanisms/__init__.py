"""Plans of differentially private training runs, and the mechanisms they are made of.

- `Plan`: one run, described, validated and immutable; it knows its epsilon and solves for what is
  left out. `PlanError`: why a description of a run does not hold, in one sentence.
- `Identity`, `BinaryTree`, `PrefixTree`, `SquareRoot`, `BandedToeplitz`, `InverseBandedToeplitz`,
  `BLT`, `Banded`, `Dense`: how noise is correlated over the steps; `Strategy`: what they share.
- `prefix_sum`, `momentum`, `learning_rates`, `toeplitz`, `from_matrix`: what a run estimates.
- `SingleParticipation`, `MinSeparation`, `FixedEpochOrder`, `CyclicPoisson`, `BallsInBins`: how
  often one example takes part; `federated` finds it from a population and its rounds.
- `recommend`: which mechanism a plan should use, and why.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mechanisms.plan import Plan
from mechanisms.planning.fields import PlanError

if TYPE_CHECKING:
    from mechanisms.participation import (
        BallsInBins,
        CyclicPoisson,
        FixedEpochOrder,
        MinSeparation,
        SingleParticipation,
        federated,
    )
    from mechanisms.recommendation import recommend
    from mechanisms.strategies import (
        BLT,
        Banded,
        BandedToeplitz,
        BinaryTree,
        Dense,
        Identity,
        InverseBandedToeplitz,
        PrefixTree,
        SquareRoot,
        Strategy,
    )
    from mechanisms.workloads import (
        from_matrix,
        learning_rates,
        momentum,
        prefix_sum,
        toeplitz,
    )

__all__ = [
    "BLT",
    "BallsInBins",
    "Banded",
    "BandedToeplitz",
    "BinaryTree",
    "CyclicPoisson",
    "Dense",
    "FixedEpochOrder",
    "Identity",
    "InverseBandedToeplitz",
    "MinSeparation",
    "Plan",
    "PlanError",
    "PrefixTree",
    "SingleParticipation",
    "SquareRoot",
    "Strategy",
    "federated",
    "from_matrix",
    "learning_rates",
    "momentum",
    "prefix_sum",
    "recommend",
    "toeplitz",
]

# Imported when they are asked for: planning a run needs neither matrices nor a compiler.
_HOMES = {
    "mechanisms.participation": (
        "BallsInBins",
        "CyclicPoisson",
        "FixedEpochOrder",
        "MinSeparation",
        "SingleParticipation",
        "federated",
    ),
    "mechanisms.recommendation": ("recommend",),
    "mechanisms.strategies": (
        "BLT",
        "Banded",
        "BandedToeplitz",
        "BinaryTree",
        "Dense",
        "Identity",
        "InverseBandedToeplitz",
        "PrefixTree",
        "SquareRoot",
        "Strategy",
    ),
    "mechanisms.workloads": ("from_matrix", "learning_rates", "momentum", "prefix_sum", "toeplitz"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
