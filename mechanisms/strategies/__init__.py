"""Ways to correlate noise over the steps of a run, one file each; `base` says what they share."""

from mechanisms.strategies.base import Strategy
from mechanisms.strategies.blt import BLT
from mechanisms.strategies.identity import Identity
from mechanisms.strategies.inverse_toeplitz import InverseBandedToeplitz
from mechanisms.strategies.prefix_tree import PrefixTree
from mechanisms.strategies.square_root import SquareRoot
from mechanisms.strategies.toeplitz import BandedToeplitz
from mechanisms.strategies.tree import BinaryTree

__all__ = [
    "BLT",
    "BandedToeplitz",
    "BinaryTree",
    "Identity",
    "InverseBandedToeplitz",
    "PrefixTree",
    "SquareRoot",
    "Strategy",
]
