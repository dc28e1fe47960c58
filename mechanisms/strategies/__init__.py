"""Ways to correlate noise over the steps of a run, one file each; `base` says what they share."""

from mechanisms.strategies.banded import Banded
from mechanisms.strategies.base import Strategy
from mechanisms.strategies.blt import BLT
from mechanisms.strategies.dense import Dense
from mechanisms.strategies.identity import Identity
from mechanisms.strategies.inverse_toeplitz import InverseBandedToeplitz
from mechanisms.strategies.prefix_tree import PrefixTree
from mechanisms.strategies.square_root import SquareRoot, best_square_root
from mechanisms.strategies.toeplitz import BandedToeplitz
from mechanisms.strategies.tree import BinaryTree

__all__ = [
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
    "best_square_root",
]
