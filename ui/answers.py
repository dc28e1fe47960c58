"""What the page has already worked out, so that going back to a plan costs nothing.

Everything is keyed by the plan's canonical JSON and shared by all sessions. Curves are kept point
by point: a run that was interrupted by the next change of an input loses none of its points.
"""

from dataclasses import dataclass

import streamlit as st

from accountant import CalibrationError
from mechanisms.exploration import (
    Cost,
    FrontierPoint,
    Outlook,
    cost_after,
    frontier_point,
    outlook,
)
from mechanisms.plan import Plan
from mechanisms.plan_fields import PlanError
from ui.state import Question, spoken

__all__ = ["Answer", "answer", "cost", "price_like"]


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


@st.cache_data(max_entries=512, show_spinner=False)
def _answer(plan: str, epsilon: float | None) -> Answer:
    complete = Plan.from_json(plan)
    try:
        if epsilon is not None:
            complete = complete.calibrate(epsilon=epsilon)
        return Answer(outlook(complete))
    except PlanError as error:
        return Answer(None, spoken(error))
    except (CalibrationError, ValueError) as error:
        return Answer(None, str(error))


@st.cache_data(max_entries=20_000, show_spinner=False)
def cost(plan: str, steps: int) -> Cost:
    """Return what the first steps of the plan with this JSON cost."""
    return cost_after(Plan.from_json(plan), steps)


@st.cache_data(max_entries=20_000, show_spinner=False)
def price_like(plan: str, epsilon: float, batch_size: int, epochs: float) -> FrontierPoint:
    """Return a run with another batch size and length that costs what this plan may cost."""
    return frontier_point(Plan.from_json(plan), epsilon, batch_size, epochs)
