"""What the cells of the support table rest on, and what other accountants say of them.

Theorems are keyed by the rule that prices a cell: a mechanism, or a sampler and whether it is
priced by a dominating pair or by its RDP curve.  Tests ask that every cell finds its theorem, that
every theorem is found, and that other accountants support what is said of them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DOCUMENTED", "MECHANISM_THEOREMS", "SAMPLER_THEOREMS", "Peer", "sampler_theorem"]

MECHANISM_THEOREMS = {
    "Gaussian": "N(1, s^2) against N(0, s^2), for vectors too; 2 apart under replace-one (Balle, "
    "Wang 2018, arXiv 1805.06530, Theorem 8)",
    "Laplace": "Lap(1, b) against Lap(0, b), also of a vector with L1 norm 1; 2 apart under "
    "replace-one (docs/pairs.md, section 2)",
    "discrete Gaussian": "the discrete Gaussian against the same shifted by the sensitivity, twice "
    "that under replace-one (Canonne, Kamath, Steinke 2020, arXiv 2004.00010)",
    "discrete Laplace": "DLap(a) against the same shifted by the sensitivity, twice that under "
    "replace-one (docs/pairs.md, section 2)",
    "randomized response": "a bucket's output against another bucket's, or against a uniform one "
    "under zero-out (the mechanism's own definition)",
    "exponential (bounded range)": "the envelope of all mechanisms of this range: an upper bound "
    "once several are composed (Dong, Durfee, Rogers 2020, arXiv 1909.13830); below: randomized "
    "response of half the range (docs/pairs.md, section 6)",
    "mixture of Gaussians": "the mixture against N(0, s^2), in both orders (Choquette-Choo et al. "
    "2024, arXiv 2310.15526, Corollary 4.7)",
    "(epsilon, delta) black box": "released in the clear with probability delta, else randomized "
    "response (Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 3.3)",
    "pure-DP black box": "randomized response (Kairouz, Oh, Viswanath 2015, arXiv 1311.0776)",
    "zCDP": "RDP(a) = xi + rho a is all that is known (Bun, Steinke 2016, arXiv 1605.02065, "
    "Definition 1.1)",
    "RDP curve": "points of the curve are all that is known; between them it is convex (van Erven, "
    "Harremoes 2014, arXiv 1206.2459; docs/renyi.md, section 1)",
    "tree aggregation": "one Gaussian release, a record is in floor(log2 T) + 1 nodes (Kairouz et "
    "al. 2021, arXiv 2103.00039, appendix D; docs/renyi.md, section 7)",
    "tree, several participations": "one Gaussian release with the largest squared sensitivity "
    "over participation patterns (arXiv 2103.00039, appendix D; docs/renyi.md, section 7)",
    "repeat and select": "RDP of the best of a random number of runs (Papernot, Steinke 2022, "
    "arXiv 2110.03620, Theorems 2 and 6; docs/renyi.md, section 3)",
    "sparsified Gaussian": "RDP of the coordinate-subsampled Gaussian (after Chen et al. 2024, "
    "arXiv 2405.02341; docs/sparsified.md, sections 2 to 4; replace-one: section 6)",
    "several releases of a batch": "the product of the pairs (Zhu, Dong, Wang 2022, arXiv "
    "2106.08567, Theorem 10)",
}

BY_PAIR, BY_CURVE = "by pairs", "by RDP"

SAMPLER_THEOREMS: dict[tuple[str, str], str] = {
    ("Poisson", BY_PAIR): "((1-q) Q + q P, Q) where (P, Q) dominates what is sampled (Zhu, Dong, "
    "Wang 2022, arXiv 2106.08567, Theorem 11)",
    ("Poisson", "REPLACE_ONE"): "(1-q) N(0) + q N(1) against (1-q) N(0) + q N(-1), N log-concave "
    "(docs/pairs.md, section 3)",
    **{
        ("Poisson", f"{name}, REPLACE_ONE"): "whether the record was drawn may as well be seen: "
        "joint convexity (docs/pairs.md, section 3)"
        for name in (
            "exponential (bounded range)",
            "(epsilon, delta) black box",
            "pure-DP black box",
        )
    },
    ("Poisson", BY_CURVE): "RDP of a Poisson sample, of any mechanism known by RDP (Zhu, Wang "
    "2019, Theorem 5, with both directions; docs/renyi.md, section 4)",
    ("Poisson", BY_CURVE + ", REPLACE_ONE"): "joint convexity: whether the record was drawn may "
    "as well be seen (docs/renyi.md, section 4)",
    ("Poisson", "sparsified Gaussian"): "RDP with the clients sampled too (docs/sparsified.md, "
    "sections 5 and 6)",
    ("truncated Poisson", BY_PAIR): "whether the batch is cut may as well be seen: a Poisson pair, "
    "or one at twice the sensitivity (arXiv 2508.15089, Theorem 3.1; docs/pairs.md, section 7)",
    ("without replacement", BY_PAIR): "the Poisson pair of the replace-one pair, q = b/N, made "
    "symmetric (arXiv 2106.08567, Theorem 11; Balle, Barthe, Gaboardi 2018, arXiv 1807.01647, "
    "Theorem 9; docs/pairs.md, section 4); below: that pair, under zero-out the Poisson pair",
    ("without replacement", BY_CURVE): "RDP of a fixed-size subset (Wang, Balle, Kasiviswanathan "
    "2019, arXiv 1808.00087, Theorem 9; docs/renyi.md, section 5)",
    ("with replacement", BY_PAIR): "drawn k times with probability Binomial(b, 1/N): shifts 2k "
    "(Balle, Barthe, Gaboardi 2018, arXiv 1807.01647, Theorem 10; docs/pairs.md, section 5)",
    ("random allocation, one place", BY_PAIR): "the mixture over the places of a record against "
    "none, between two listed pairs (arXiv 2412.16802; arXiv 2502.08202, section 3; of mechanisms "
    "other than the Gaussian: docs/random-allocation.md, section 7)",
    ("random allocation, several", BY_PAIR): "blocks of steps with one place each (arXiv "
    "2502.08202; docs/random-allocation.md)",
    ("cyclic Poisson", BY_PAIR): "Poisson samples in the steps of the record's own group alone "
    "(Choquette-Choo et al. 2023, arXiv 2306.08153, section 4)",
    ("cyclic Poisson", BY_CURVE): "Poisson samples in the steps of the record's own group alone "
    "(arXiv 2306.08153, section 4), each by its RDP (docs/renyi.md, section 4)",
    ("shuffled", BY_PAIR): "above: the order may as well be known, so that each record is in one "
    "release, without amplification; below, of a Gaussian under zero-out: the adversary of arXiv "
    "2403.17673, section 4 (docs/random-allocation.md, section 6)",
    ("shuffled", BY_CURVE): "the order may as well be known: no amplification",
    ("group of 3", BY_PAIR): "the sensitivity grows by the group's size",
    ("group of 3", "(epsilon, delta) black box"): "(k epsilon, delta (e^(k epsilon) - 1)/"
    "(e^epsilon - 1)) (Vadhan 2017, Lemma 2.2); below: one record of the group",
    ("group of 3", BY_CURVE): "(k^2 rho)-zCDP (Bun, Steinke 2016, arXiv 1605.02065, Proposition "
    "1.9)",
    ("group of 3, without replacement", BY_PAIR): "x members are in the batch, in the places of x "
    "others, with a hypergeometric chance: shifts 2x (docs/pairs.md, section 4)",
    ("group of 3, Poisson", BY_PAIR): "Binomial(k, q) members are in the sample: a mixture "
    "(Charles et al. 2024, arXiv 2401.10294)",
}


def sampler_theorem(
    sampler: str, mechanism: str, relation: str, by_curve: bool
) -> tuple[str, str] | None:
    """The key of the theorem that prices this sampler; None where none is known."""
    how = BY_CURVE if by_curve else BY_PAIR
    of_relation = f"{how}, {relation}" if by_curve else relation
    for detail in (f"{mechanism}, {relation}", mechanism, of_relation, how):
        if (sampler, detail) in SAMPLER_THEOREMS:
            return sampler, detail
    return None


@dataclass(frozen=True)
class Peer:
    """What another accountant's public documentation says that it supports.

    Parameters
    ----------
    version
        The release whose documentation was read.
    cells
        Samplers and mechanisms of the table.
    relations
        Names of neighbouring relations.
    """

    version: str
    cells: tuple[tuple[str, str], ...]
    relations: tuple[str, ...] = ("ADD_OR_REMOVE_ONE",)


_NOISES = ("Laplace", "discrete Gaussian", "discrete Laplace")
_ALLOCATIONS = ("random allocation, one place", "random allocation, several")

# Accountants that are not asked, because they are not installed with this one.
DOCUMENTED = {
    "dp-accounting, PLD functions": Peer(
        "0.6.0",
        (
            ("none", "discrete Gaussian"),
            ("none", "(epsilon, delta) black box"),
            ("none", "pure-DP black box"),
        ),
    ),
    "jax-privacy": Peer(
        "2.0.0",
        (
            ("none", "Gaussian"),
            ("Poisson", "Gaussian"),
            ("truncated Poisson", "Gaussian"),
            ("without replacement", "Gaussian"),
            ("cyclic Poisson", "Gaussian"),
            ("group of 3, Poisson", "Gaussian"),
            ("group of 3, without replacement", "Gaussian"),
        ),
    ),
    "jax-privacy, execution plans": Peer(
        "2.0.0",
        (
            ("Poisson", "Gaussian"),
            ("truncated Poisson", "Gaussian"),
            ("cyclic Poisson", "Gaussian"),
        ),
        ("REPLACE_SPECIAL", "REPLACE_ONE"),
    ),
    "Opacus": Peer("1.6.0", (("none", "Gaussian"), ("Poisson", "Gaussian"))),
    "opake-accounting": Peer(
        "0.16.1",
        (
            ("none", "Gaussian"),
            ("none", "(epsilon, delta) black box"),
            ("none", "pure-DP black box"),
            ("Poisson", "Gaussian"),
            ("Poisson", "(epsilon, delta) black box"),
            ("Poisson", "pure-DP black box"),
            ("truncated Poisson", "Gaussian"),
            *((one, "Gaussian") for one in _ALLOCATIONS),
        ),
    ),
    "PLD_accounting": Peer(
        "2.0",
        (
            *(("none", one) for one in ("Gaussian", *_NOISES)),
            *(("Poisson", one) for one in ("Gaussian", *_NOISES, "mixture of Gaussians")),
            *((one, "Gaussian") for one in _ALLOCATIONS),
            *((one, noise) for one in _ALLOCATIONS for noise in _NOISES),
        ),
    ),
    "prv-accountant": Peer(
        "0.2.0",
        (
            ("none", "Gaussian"),
            ("none", "Laplace"),
            ("none", "(epsilon, delta) black box"),
            ("none", "pure-DP black box"),
            ("Poisson", "Gaussian"),
        ),
    ),
    "riskcal": Peer(
        "1.5.1",
        (("none", "Gaussian"), ("none", "zCDP"), ("none", "RDP curve"), ("Poisson", "Gaussian")),
    ),
}
