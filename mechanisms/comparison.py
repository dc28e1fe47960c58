"""Strategies side by side for one run: what each costs, how well it does, how far from the best."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from accountant.parameters import short, whole_count
from mechanisms.designs import Design, Run, suitable
from mechanisms.lower_bounds import LowerBound, lower_bound
from mechanisms.sensitivity import Sensitivity
from mechanisms.strategies import Strategy

__all__ = ["Comparison", "Refused", "Row", "bound_of", "compare", "entries", "entry"]


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy.

    Attributes
    ----------
    design : Design
    strategy : Strategy
    sensitivity : Sensitivity
        For the run's participation.
    rmse, max_error : float
        Root mean square, and the largest, standard error over steps, at noise multiplier 1.
    memory : int
        Arrays of the model's size that its noise keeps between steps.
    """

    design: Design
    strategy: Strategy
    sensitivity: Sensitivity
    rmse: float
    max_error: float
    memory: int

    def error(self, objective: str) -> float:
        """Return the error that counts: `rmse` for "mean", `max_error` for "max"."""
        return self.rmse if objective == "mean" else self.max_error


@dataclass(frozen=True, slots=True)
class Refused:
    """A design that has no strategy for the run, and why."""

    design: Design
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Strategies for one run, the least error first.

    Attributes
    ----------
    run : Run
    rows : tuple of Row
    refused : tuple of Refused
    bound : LowerBound or None
        What no factorization of the workload can beat, in the run's objective; None where none is
        known.
    """

    run: Run
    rows: tuple[Row, ...]
    refused: tuple[Refused, ...]
    bound: LowerBound | None

    def gap(self, row: Row) -> float | None:
        """Return by how many percent a row may be above the best possible; None where unknown."""
        if self.bound is None or not self.bound.value > 0.0:
            return None
        return 100.0 * (row.error(self.run.objective) / self.bound.value - 1.0)

    @property
    def preferred(self) -> Row:
        """The row that keeps least between steps, of those within one percent of the least error.

        Raises
        ------
        ValueError
            If no design fits the run.
        """
        if not self.rows:
            raise ValueError("no design fits this run and this memory")
        least = self.rows[0].error(self.run.objective)
        near = [row for row in self.rows if row.error(self.run.objective) <= 1.01 * least]
        # A dense one keeps nothing, and draws everything again for every step.
        return min(
            near,
            key=lambda row: (
                row.design.kind == "dense",
                row.memory,
                row.error(self.run.objective),
            ),
        )


def entry(design: Design, run: Run, memory: int | None = None) -> Row | Refused:
    """Make one strategy for a run and evaluate it, unless its noise keeps more than it may."""
    most = math.inf if memory is None else memory
    kept = design.memory(run)
    if kept <= most:
        try:
            row = row_of(design, design.make(run), run)
        except ValueError as error:
            return Refused(design, str(error))
        if row.memory <= most:
            return row
        kept = row.memory
    return Refused(design, f"its noise keeps {kept} model copies, more than the {most} allowed")


def row_of(design: Design, strategy: Strategy, run: Run) -> Row:
    """Evaluate a strategy for a run.

    Raises
    ------
    ValueError
        If it has no proved sensitivity for the run's participation.
    """
    workload = run.estimated
    bound = strategy.sensitivity_bound(run.participation)
    return Row(
        design=design,
        strategy=strategy,
        sensitivity=bound,
        rmse=bound.value * math.sqrt(strategy.mean_squared_error(workload)),
        max_error=bound.value * math.sqrt(strategy.max_squared_error(workload)),
        memory=strategy.memory,
    )


def entries(
    designs: Iterable[Design],
    run: Run,
    executor: Executor | None = None,
    memory: int | None = None,
) -> Iterator[Row | Refused]:
    """Make and evaluate strategies one after the other, as they are asked for."""
    if executor is None:
        return (entry(design, run, memory) for design in designs)
    futures = [executor.submit(entry, design, run, memory) for design in designs]
    return (future.result() for future in futures)


def bound_of(run: Run, quick: bool = False) -> LowerBound | None:
    """Return what no factorization can beat for a run; see `mechanisms.lower_bounds`."""
    return lower_bound(run.estimated, run.participation, run.objective, quick=quick)


def compare(
    run: Run,
    designs: Sequence[Design] | None = None,
    *,
    memory: int | None = None,
    quick: bool = False,
    executor: Executor | None = None,
    report: Callable[[Row | Refused], None] | None = None,
) -> Comparison:
    """Make strategies for a run and put them side by side.

    Parameters
    ----------
    run : Run
    designs : sequence of Design, optional
        What to try; without it, what `suitable` names.
    memory : int, optional
        Arrays of the model's size that noise may keep between steps; without it, any number.
    quick : bool
        Whether to take the lower bound from closed forms alone; see `bound_of`.
    executor : concurrent.futures.Executor, optional
        Where the work is done; without it, here.
    report : callable, optional
        Called with every row as it is ready.

    Raises
    ------
    ValueError
        If nothing can be compared.
    """
    limit = None if memory is None else whole_count(memory, "memory")
    chosen = suitable(run, limit) if designs is None else tuple(designs)
    if not all(isinstance(design, Design) for design in chosen):
        raise ValueError(f"designs must be those of mechanisms.designs, got {short(designs)}")
    found = []
    below = None if executor is None else executor.submit(bound_of, run, quick)
    for one in entries(chosen, run, executor, limit):
        if report is not None:
            report(one)
        found.append(one)
    rows = [one for one in found if isinstance(one, Row)]
    rows.sort(key=lambda row: row.error(run.objective))
    return Comparison(
        run=run,
        rows=tuple(rows),
        refused=tuple(one for one in found if isinstance(one, Refused)),
        bound=bound_of(run, quick) if below is None else below.result(),
    )
