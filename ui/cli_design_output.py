"""What `dp-planner design` prints: tables for people, JSON for machines."""

import json
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Any

import click

from ui.cli_output import SCHEMA_VERSION, print_json, print_rows, run_rows

if TYPE_CHECKING:
    from mechanisms.comparison import Comparison
    from mechanisms.lower_bounds import LowerBound
    from mechanisms.recommendation import Recommendation

__all__ = ["print_comparison", "print_recommendation"]

_COUNTS = {"mean": "root mean square over steps", "max": "the largest of all steps"}


def print_comparison(compared: "Comparison", workload: str, as_json: bool) -> None:
    """Print strategies side by side at noise multiplier 1."""
    run = compared.run
    if as_json:
        from accountant.guarantee import versions
        from mechanisms.participation import to_dict

        rows = [
            {
                "design": str(row.design),
                "title": row.design.title,
                "rmse": row.rmse,
                "max_error": row.max_error,
                "memory": row.memory,
                "sensitivity": {
                    "value": row.sensitivity.value,
                    "exact": row.sensitivity.exact,
                    "method": row.sensitivity.method,
                },
                "gap_percent": compared.gap(row),
            }
            for row in compared.rows
        ]
        content = {
            "schema_version": SCHEMA_VERSION,
            "steps": run.steps,
            "participation": to_dict(run.participation),
            "workload": workload,
            "objective": run.objective,
            "lower_bound": _bound(compared.bound),
            "designs": rows,
            "refused": [
                {"design": str(one.design), "reason": one.reason} for one in compared.refused
            ],
            "preferred": str(compared.preferred.design),
            "versions": dict(versions()),
        }
        click.echo(json.dumps(content, indent=2, allow_nan=False))
        return
    click.echo(f"{run.steps} steps, {run.participation}; {_COUNTS[run.objective]}")
    head = ("design", "rmse", "max error", "memory", "above best possible")
    cells = [
        (
            str(row.design),
            f"{row.rmse:.6g}{'' if row.sensitivity.exact else '*'}",
            f"{row.max_error:.6g}",
            str(row.memory),
            _percent(compared.gap(row)),
        )
        for row in compared.rows
    ]
    _print_table([head, *cells])
    _print_notes(
        compared.bound,
        all(row.sensitivity.exact for row in compared.rows),
        [(str(one.design), one.reason) for one in compared.refused],
    )
    best = compared.preferred
    click.echo(
        f"prefer {best.design}: of all within 1 % of the least error, it keeps least between steps"
    )


def print_recommendation(found: "Recommendation", workload: str, as_json: bool) -> None:
    """Print strategies at equal privacy, and which of them to use."""
    best = found.best
    if as_json:
        print_json(
            best.plan,
            epsilon=found.epsilon,
            workload=workload,
            objective=found.objective,
            lower_bound=_bound(found.bound),
            choices=[
                {
                    "design": str(choice.design),
                    "title": choice.title,
                    "error": choice.error,
                    "memory": choice.memory,
                    "noise_multiplier": choice.plan.noise_multiplier,
                    "noise_stddev": choice.plan.noise_stddev,
                    "groups": choice.plan.groups,
                    "sensitivity_exact": choice.sensitivity_exact,
                    "gap_percent": found.gap(choice),
                    "plan_hash": choice.plan.hash,
                }
                for choice in found.choices
            ],
            refused=[{"design": name, "reason": reason} for name, reason in found.refused],
            recommended=str(best.design),
            recommendation=list(found.words),
        )
        return
    run = best.plan
    click.echo(
        f"{run.steps} steps at epsilon <= {found.epsilon:g} and delta = {run.delta!r}; "
        f"{_COUNTS[found.objective]}"
    )
    head = ("mechanism", "error", "memory", "noise multiplier", "above best possible")
    cells = [
        (
            choice.title,
            f"{choice.error:.6g}{'' if choice.sensitivity_exact else '*'}",
            str(choice.memory),
            f"{choice.plan.noise_multiplier:.6g}",
            _percent(found.gap(choice)),
        )
        for choice in found.choices
    ]
    _print_table([head, *cells])
    exact = all(choice.sensitivity_exact for choice in found.choices)
    _print_notes(found.bound, exact, found.refused)
    for sentence in found.words:
        click.echo(sentence)
    print_rows(run_rows(run))


def _bound(bound: "LowerBound | None") -> dict[str, Any] | None:
    if bound is None:
        return None
    return {"value": bound.value, "certified": bound.certified, "method": bound.method}


def _percent(gap: float | None) -> str:
    from accountant.statement import rounded_up

    return "unknown" if gap is None else f"{rounded_up(max(gap, 0.0), 3)} %"


def _print_table(cells: Sequence[tuple[str, ...]]) -> None:
    """Print rows of text, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        right = [f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True)]
        click.echo("  " + "  ".join([f"{first:<{widths[0]}}", *right]))


def _print_notes(
    bound: "LowerBound | None", exact: bool, refused: Sequence[tuple[str, str]]
) -> None:
    if bound is None:
        click.echo("best possible: nothing is proved here")
    else:
        kind = "proved" if bound.certified else "not certified"
        least = Context(prec=6, rounding=ROUND_FLOOR).create_decimal(Decimal(bound.value))
        click.echo(f"best possible: at least {least} at noise multiplier 1 ({kind})")
    if not exact:
        click.echo("* its sensitivity is an upper bound, and so is this error")
    for name, reason in refused:
        click.echo(f"not {name}: {reason}")
