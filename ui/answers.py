"""What the page has already worked out, so that going back to a plan costs nothing.

Everything is keyed by the plan's canonical JSON and shared by all sessions. Answers, and curves
point by point, are worked out in threads of their own: the script that draws them only waits, so
that the next change of an input is heard at once, and a run that it interrupted loses nothing.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from accountant import CalibrationError, UnsupportedEventError
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

__all__ = ["ANSWERS", "CURVES", "Answer", "answer", "cost", "price_like", "worked_out"]

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
    return _answer(question.plan.to_json(), question.epsilon)


@lru_cache(maxsize=512)
def _answer(plan: str, epsilon: float | None) -> Answer:
    complete = Plan.from_json(plan)
    try:
        if epsilon is not None:
            complete = complete.calibrate(epsilon=epsilon)
        return Answer(outlook(complete))
    except PlanError as error:
        return Answer(None, spoken(error))
    except (CalibrationError, UnsupportedEventError) as error:
        return Answer(None, str(error))


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
        while True:
            try:
                return future.result(_PATIENCE)
            except TimeoutError:
                meanwhile()
    finally:
        future.cancel()
