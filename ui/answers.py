"""What the page has already worked out, so that going back to a plan costs nothing.

Everything is keyed by the plan's canonical JSON and shared by all sessions. Answers, and curves
point by point, are worked out in threads of their own: the script that draws them only waits, so
that the next change of an input is heard at once, and a run that it interrupted loses nothing.
"""

import sys
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from mechanisms.comparison import Refused, Row, entry
from mechanisms.design_views import Purpose, run_of
from mechanisms.designs import Design, Run
from mechanisms.exploration import (
    Cost,
    FrontierPoint,
    Outlook,
    cost_after,
    frontier_point,
    outlook,
)
from mechanisms.plan import Plan
from mechanisms.planning.fields import PlanError
from ui.state import Question, spoken

__all__ = [
    "ANSWERS",
    "CURVES",
    "Answer",
    "answer",
    "cost",
    "kept",
    "made",
    "price_like",
    "waited",
    "worked_out",
]

T = TypeVar("T")

# The engine's kernels let go of Python's lock, so that an answer does not wait for a curve.
ANSWERS: Final = ThreadPoolExecutor(max_workers=2, thread_name_prefix="answers")
CURVES: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="curves")
_PATIENCE: Final = 0.02  # seconds between two looks at whether an input has changed

# Drawing a page lets go of Python's lock at every message to the browser, and a worker that
# calculates keeps it for this long (5 ms by default): dozens of messages would make that felt.
sys.setswitchinterval(0.0005)


@dataclass(frozen=True, slots=True)
class Answer:
    """The outlook of the plan that was asked for, or a sentence that says why there is none."""

    outlook: Outlook | None
    refusal: str | None = None


def answer(question: Question) -> Answer | None:
    """Answer a question; None where the question has faults."""
    if question.plan is None:
        return None
    return _answer(question.plan.to_json(), question.epsilon, question.design, question.purpose)


@lru_cache(maxsize=512)
def _answer(plan: str, epsilon: float | None, design: Design | None, purpose: Purpose) -> Answer:
    complete = Plan.from_json(plan)
    try:
        if design is not None:
            row = made(design, run_of(complete, purpose))
            if isinstance(row, Refused):
                return Answer(None, f"{design.title} cannot be designed: {row.reason}.")
            complete = complete.replace(mechanism=row.strategy)
        if epsilon is not None:
            complete = complete.calibrate(epsilon=epsilon)
        return Answer(outlook(complete))
    except PlanError as error:
        return Answer(None, spoken(error))
    except ValueError as error:  # of the accountant, or of a purpose that does not fit the run
        return Answer(None, str(error))


@lru_cache(maxsize=256)
def kept(work: Callable[..., T], *arguments: Hashable) -> T:
    """Return what some work comes to, which is done once and then remembered."""
    return work(*arguments)


def made(design: Design, run: Run) -> Row | Refused:
    """Return the strategy of a design for a run, or why there is none."""
    row: Row | Refused = kept(entry, design, run, None)  # as `recommend` asks for it
    return row


@lru_cache(maxsize=20_000)
def cost(plan: str, steps: int) -> Cost:
    """Return what the first steps of the plan with this JSON cost."""
    return cost_after(Plan.from_json(plan), steps)


@lru_cache(maxsize=20_000)
def price_like(plan: str, epsilon: float, batch_size: int, epochs: float) -> FrontierPoint:
    """Return a run with another batch size and length that costs what this plan may cost."""
    return frontier_point(Plan.from_json(plan), epsilon, batch_size, epochs)


def worked_out(worker: Executor, work: Callable[[], T], meanwhile: Callable[[], object]) -> T:
    """Let a worker do something, and call `meanwhile` every now and then until it is done.

    Whatever `meanwhile` raises ends the waiting; what the worker has begun, it finishes and keeps.
    """
    future = worker.submit(work)
    try:
        return waited(future, meanwhile)
    finally:
        future.cancel()


def waited(future: "Future[T]", meanwhile: Callable[[], object], patience: float = _PATIENCE) -> T:
    """Return a future's result, and call `meanwhile` every so many seconds until it is there."""
    while True:
        try:
            return future.result(patience)
        except TimeoutError:
            if future.done():
                raise  # its own
            meanwhile()
