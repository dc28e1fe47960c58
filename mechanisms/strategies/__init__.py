"""Ways to correlate noise over the steps of a run, one file each; `base` says what they share."""

from mechanisms.strategies.base import Strategy
from mechanisms.strategies.identity import Identity

__all__ = ["Identity", "Strategy"]
