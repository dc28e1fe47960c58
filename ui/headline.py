"""The answer: one number, its certified bracket, and what it means."""

import streamlit as st

from mechanisms.exploration import Outlook, written
from ui.entries import escaped, grouped, percent, percent_up, rounded, rounded_up

__all__ = ["meaning", "sentence", "show_headline"]


def show_headline(
    found: Outlook, solve: str, target: float | None, mechanism: str | None = None
) -> None:
    """Draw the answer to a question, about a plan with a mechanism of this title."""
    st.title(sentence(found, solve, target), anchor=False)
    with st.container(key="headline", horizontal=True, gap="large"):
        for label, value, why in _facts(found, solve, mechanism):
            st.metric(label, value, help=why, width="content")
    st.markdown(meaning(found))
    st.caption(
        _certificate(found),
        help="Both ends are proved, rounding errors included. The upper one is safe to publish.",
    )


def sentence(found: Outlook, solve: str, target: float | None) -> str:
    """Return the answer in one sentence, rounded to the safe side."""
    plan = found.plan
    at = f"at δ = {written(plan.delta or 0.0)}"
    if solve == "epsilon" or target is None:
        return f"This run costs ε ≤ {rounded_up(found.upper)} {at}"
    found_is = {
        "noise_multiplier": f"needs noise multiplier {rounded_up(plan.noise_multiplier or 0.0)}",
        "length": f"allows {grouped(plan.steps or 0)} steps",
        "batch_size": f"allows batches of {plan.batch_size:,}",
    }[solve]
    return f"ε ≤ {written(target)} {at} {found_is}"


def _facts(found: Outlook, solve: str, mechanism: str | None) -> list[tuple[str, str, str]]:
    plan, facts = found.plan, []
    if solve != "epsilon":
        why = "What the run that was found costs: at most the target."
        facts.append(("Cost ε", rounded_up(found.upper), why))
    if mechanism is not None:
        why = "How the noise of one step is correlated with that of the others."
        facts.append(("Correlated noise", mechanism, why))
    if plan.epochs is not None:
        why = "How often one example is used, on average."
        facts.append(("Epochs", rounded(float(plan.epochs), 4), why))
    if plan.steps is not None:
        facts.append(("Steps", grouped(plan.steps), "Noisy updates in the whole run."))
    if plan.sampling_probability is not None:
        facts.append(
            (
                "Sampling probability",
                rounded(plan.sampling_probability),
                "The chance that one example takes part in one step.",
            )
        )
    if plan.max_batch_size is not None:
        why = "Larger batches are cut to this many examples, at random; this costs privacy."
        facts.append(("Cap on the batch", grouped(plan.max_batch_size), why))
    if not isinstance(plan.mechanism, str):
        why = (
            "What the mechanism's noise is multiplied by before it is added to the sum of the "
            "clipped gradients: noise multiplier, clipping norm and sensitivity together."
        )
        facts.append(("Noise std. dev.", rounded_up(plan.noise_stddev), why))
    if plan.batch_size is not None:
        why = (
            "Noise multiplier per example of the batch: the noise left in the average gradient, "
            "in clipping norms. It is what decides utility."
            if isinstance(plan.mechanism, str)
            else "That of the independent noise with the same error on prefix sums, which is what "
            "SGD with a constant learning rate adds up. It is what decides utility."
        )
        facts.append(("Noise-to-batch ratio", rounded(plan.noise_to_batch_ratio), why))
    return facts


def meaning(found: Outlook) -> str:
    """Say in plain words what an attacker can achieve at most."""
    plan = found.plan
    unit = escaped(plan.unit)
    if plan.group_size > 1:
        unit = f"group of {plan.group_size} {unit}s"
    question, detected = {
        "add_or_remove_one": (f"whether one {unit} was used", "that were"),
        "replace_special": (f"whether one {unit} was used or blanked out", "that were used"),
        "replace_one": (f"which of two {unit}s was used", "cases in which it was the second"),
    }[plan.neighboring_relation]
    return (
        f"**In plain words:** somebody who knows everything except {question}, and who accepts "
        f"false alarms in {percent(found.false_positive_rate)} of cases, detects at most "
        f"**{percent_up(found.true_positive_rate)}** of those {detected} (guessing: "
        f"{percent(found.false_positive_rate)}). For no attack does the share of detections exceed "
        f"that of false alarms by more than {percent_up(found.advantage)}."
    )


def _certificate(found: Outlook) -> str:
    bracket = f"Certified: {found.lower!r} ≤ ε ≤ {found.upper!r}"
    if not (found.tight or found.plan.loss.exact):
        return f"{bracket}. An upper bound: no exact value is known for this sampling."
    if not found.tight:
        return f"{bracket}. The bracket holds but is wider than usual here."
    return f"{bracket}."
