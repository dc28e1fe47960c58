"""Rigorous enclosures of delta and epsilon in ball arithmetic, written for the tests.

Every function returns a ball (python-flint's ``arb``) that contains the exact value, with the
proof in its docstring. The package shares no code with the accountant and starts from the
definitions, so that it can serve as independent truth.

- ``pairs``: the dominating pairs and their compositions, with exact parameters;
- ``closed_forms``: one release, compositions of Gaussians, Laplace;
- ``convolution``: one-dimensional integrals (two releases, Laplace with Gaussians);
- ``inversion``: any composition whose characteristic function decays;
- ``lattice``: any composition, coarser;
- ``truth``: picks one of them; ``golden``: enclosures computed once and stored.
"""
