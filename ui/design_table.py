"""Mechanisms side by side, at the same cost."""

from collections.abc import Sequence
from typing import Final

from mechanisms.design_views import Measured, gigabytes
from mechanisms.recommendation import Recommendation
from ui.downloads import as_csv
from ui.entries import grouped, rounded, rounded_up

__all__ = ["copies", "mechanisms_csv", "mechanisms_table", "takes"]

_CSV: Final = (
    "design",
    "groups",
    "noise_multiplier",
    "noise_stddev",
    "rmse",
    "max_error",
    "error_relative_to_independent",
    "memory_model_copies",
    "memory_gigabytes",
    "gap_percent",
    "sensitivity_exact",
)


def copies(count: int) -> str:
    """Say how many model copies are kept."""
    return {0: "none", 1: "1 copy"}.get(count, f"{grouped(count)} copies")


def takes(count: int, parameters: int | None) -> str:
    """Say how many model copies are kept, and what they take where the model's size is known."""
    if parameters is None or not count:
        return copies(count)
    return f"{copies(count)}, {rounded(gigabytes(count, parameters))}\u00a0GB"


def mechanisms_table(
    found: Sequence[Measured],
    recommendation: Recommendation,
    best: Measured | None,
    parameters: int | None,
    *,
    bounding: bool,
) -> dict[str, list[str]]:
    """Return the columns of the table, as Markdown: what each mechanism needs and comes to."""
    columns: dict[str, list[str]] = {
        "Mechanism": [],
        "Noise multiplier": [],
        "Noise std. dev.": [],
        "RMS error": [],
        "Largest error": [],
        "Against independent": [],
        "Model copies kept": [],
        "Above the best possible": [],
        "Sensitivity": [],
    }
    for one in found:
        relative, gap = one.relative(recommendation), recommendation.gap(one.choice)
        row = (
            f"**{one.choice.title}**" if one is best else one.choice.title,
            rounded_up(one.noise_multiplier),
            rounded_up(one.noise_stddev),
            rounded(one.rmse, 4),
            rounded(one.max_error, 4),
            "–" if relative is None else f"× {rounded(relative)}",
            takes(one.choice.memory, parameters),
            _gap(gap, bounding),
            "exact" if one.choice.sensitivity_exact else "upper bound",
        )
        for column, text in zip(columns.values(), row, strict=True):
            column.append(text)
    return columns


def _gap(gap: float | None, bounding: bool) -> str:
    if gap is None:
        return "…" if bounding else "none known"
    return f"≤ {rounded_up(gap, 2)} %" if gap > 0 else "0 %"


def mechanisms_csv(
    found: Sequence[Measured], recommendation: Recommendation, parameters: int | None
) -> str:
    """Write the table, every digit of it."""
    return as_csv(
        _CSV,
        (
            (
                one.choice.design,
                one.choice.plan.groups,
                one.noise_multiplier,
                one.noise_stddev,
                one.rmse,
                one.max_error,
                one.relative(recommendation),
                one.choice.memory,
                None if parameters is None else gigabytes(one.choice.memory, parameters),
                recommendation.gap(one.choice),
                one.choice.sensitivity_exact,
            )
            for one in found
        ),
    )
