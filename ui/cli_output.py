"""What the command `dp-planner` prints: rows for people, JSON for machines."""

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from mechanisms.plan import Plan
from mechanisms.planning.guarantee import warnings

if TYPE_CHECKING:
    from accountant import Bounds
    from accountant.guarantee import Guarantee

__all__ = ["as_json", "bounds_row", "print_guarantee", "print_json", "print_rows", "run_rows"]

SCHEMA_VERSION: Final = 1
_FALSE_ALARMS: Final = 0.01


def print_json(plan: Plan, **answers: Any) -> None:
    """Print answers as JSON, with the plan that they are about."""
    from accountant.guarantee import versions

    content = {
        "schema_version": SCHEMA_VERSION,
        **answers,
        "warnings": list(warnings(plan)),
        "plan": json.loads(plan.to_json()),
        "plan_hash": plan.hash,
        "versions": dict(versions()),
    }
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def as_json(bounds: "Bounds") -> dict[str, Any]:
    """Return bounds as JSON has them, which lacks a number for infinity."""
    lower, upper = map(float, bounds)
    return {
        "lower": lower if math.isfinite(lower) else "infinity",
        "upper": upper if math.isfinite(upper) else "infinity",
        "tight": bool(bounds.tight),
    }


def bounds_row(bounds: "Bounds", exact: bool = True) -> tuple[str, str]:
    """Return the row that shows certified bounds, of a loss that is exact or an upper bound."""
    lower, upper = map(float, bounds)
    width = "certified" if bounds.tight else "certified, wider than usual"
    if not (bounds.tight or exact):
        width = "certified, an upper bound: no exact value is known for this sampling"
    return "bracket", f"[{lower!r}, {upper!r}], {width}"


def print_guarantee(plan: Plan, guarantee: "Guarantee") -> None:
    """Print an epsilon and its conditions."""
    from accountant.statement import rounded_up

    upper = float(guarantee.epsilon.upper)
    found = "is infinite" if math.isinf(upper) else f"<= {rounded_up(upper)}"
    click.echo(f"epsilon {found} at delta = {guarantee.delta!r}")
    rate = rounded_up(guarantee.true_positive_rate(_FALSE_ALARMS), 3)
    meaning = (
        f"an attack that takes {_FALSE_ALARMS} of the others for members finds at most {rate} of "
        "the members"
    )
    print_rows(
        [
            bounds_row(guarantee.epsilon, guarantee.loss.exact),
            ("meaning", meaning),
            *run_rows(plan),
        ]
    )


def run_rows(plan: Plan) -> list[tuple[str, str]]:
    """Return the rows that say what a run does and protects."""
    run = [f"{plan.steps} steps", f"noise multiplier {plan.noise_multiplier!r}"]
    if plan.batch_size is not None:
        run.append(f"batch {plan.batch_size!r}")
    if plan.sampling_probability is not None:
        run.append(f"sampling probability {plan.sampling_probability!r}")
    if plan.max_batch_size is not None:
        run.append(f"batches cut to {plan.max_batch_size}")
    noise = []
    if not isinstance(plan.mechanism, str):
        told = [f"{plan.mechanism!r}", f"sensitivity {plan.sensitivity!r}"]
        if plan.noise_multiplier is not None:
            told.append(f"rows multiplied by {plan.noise_stddev!r}")
        noise = [("noise", ", ".join(told))]
    together = f"{plan.group_size} rows together" if plan.group_size > 1 else f"one {plan.unit}"
    return [
        ("run", ", ".join([*run, plan.sampler])),
        *noise,
        ("protects", f"{together}, {plan.neighboring_relation}"),
        ("plan", f"sha256 {plan.hash}"),
        *(("warning", sentence) for sentence in warnings(plan)),
    ]


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and texts in two columns."""
    for name, text in rows:
        click.echo(f"  {name:<9} {text}")
