"""Noise that is correlated over steps, row by row: `NoiseStream`, and what it is made of.

`filters` turn independent numbers into a strategy's, `random_source` draws those from counters, and
`state` keeps a stream between two processes.  docs/noise.md says what may be relied on.
"""

from mechanisms.noise.stream import NoiseStream

__all__ = ["NoiseStream"]
