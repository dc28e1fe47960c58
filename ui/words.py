"""What the page calls things: labels, choices and help, in plain words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["ASSUMED", "HELP", "LABELS", "SAID", "SOLVE_FOR", "in_words"]

# What the fields are called on the page.
LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "solve": "Solve for",
        "dataset_size": "Data set size",
        "batch_in": "Batch size, on average",
        "length_in": "Length of the run",
        "batch_size": "Batch size",
        "sampling_probability": "Sampling probability",
        "epochs": "Epochs",
        "steps": "Steps",
        "noise_multiplier": "Noise multiplier",
        "epsilon": "Target ε",
        "delta": "δ",
        "sampler": "Sampling",
        "neighboring_relation": "Neighbouring data sets",
        "unit": "Privacy unit",
        "group_size": "Group size",
        "clip_norm": "Clipping norm",
        "release": "What is released",
        "max_batch_size": "Cap on the batch",
    }
)

SOLVE_FOR: Final[Mapping[str, str]] = MappingProxyType(
    {
        "epsilon": "Cost ε",
        "noise_multiplier": "Noise",
        "length": "Length",
        "batch_size": "Batch",
    }
)

HELP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "solve": "What should the planner work out? **Cost**: what the run you describe costs. "
        "**Noise**, **Length**, **Batch**: what meets a target ε, given all the rest.",
        "dataset_size": "How many examples (more exactly: privacy units) the training set has. "
        "Scientific notation works: `9.6e9`.",
        "batch_size": "How many examples one step uses **on average**. With Poisson sampling every "
        "step has a different number; divide by this one all the same.",
        "sampling_probability": "The chance that one example takes part in one step.",
        "epochs": "How often one example is used, on average, in the whole run.",
        "steps": "How many noisy updates the run makes.",
        "noise_multiplier": "Standard deviation of the noise on the sum of the clipped gradients, "
        "divided by the clipping norm. More noise, more privacy.",
        "epsilon": "The cost that the run may not exceed. The answer is on the safe side of it.",
        "delta": "The probability that the guarantee ε does not cover. Keep it well below 1/N.",
        "sampler": "How a step chooses its examples. **Poisson**: each one independently, by the "
        "toss of a coin: the sampling that makes runs cheap. **Shuffled or in order**: passes over "
        "the data, as most data loaders do it; no cheaper bound is proved that holds in general. "
        "**Full batch**: every example in every step. **Fixed size**: every step draws as many "
        "examples, afresh from all of them. **Balls in bins**: in every epoch each example falls "
        "into one of the batches, by chance. **Shuffled afresh**: a new order in every epoch, cut "
        "into batches; what is proved to be lost at least is shown as well.",
        "neighboring_relation": "Which two data sets the guarantee makes hard to tell apart: with "
        "and without one example, or with one example zeroed out or replaced by another.",
        "unit": "What one row of the data set is: an example, a document, a user. It is what the "
        "guarantee protects, and the statement says so.",
        "group_size": "How many rows one protected person may have contributed. All are protected "
        "together.",
        "clip_norm": "The largest norm that one example's gradient may have. ε does not depend on "
        "it; the noise that you add does.",
        "release": "What leaves the run. ε covers every noisy update in any case.",
        "max_batch_size": "For Poisson sampling only: a larger batch is cut to this many of its "
        "examples, chosen at random. That costs, unless the cap is well above the mean; processing "
        "a batch in several passes needs no cap.",
    }
)

SAID: Final[Mapping[str, str]] = MappingProxyType(
    {
        "poisson": "Poisson sampling",
        "fixed_order": "Shuffled or in order, pass by pass",
        "full_batch": "Full batch",
        "without_replacement": "Fixed size, without replacement",
        "balls_in_bins": "Balls in bins (random allocation)",
        "shuffled": "Shuffled afresh in every epoch",
        "add_or_remove_one": "Add or remove one",
        "replace_special": "Zero out one",
        "replace_one": "Replace one by another",
        "final_model": "The final model",
        "all_checkpoints": "All checkpoints",
        "all_updates": "Every update",
        "batch_size": "examples",
        "sampling_probability": "probability",
        "epochs": "epochs",
        "steps": "steps",
    }
)
ASSUMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sampler": "Not stated (Poisson assumed)",
        "neighboring_relation": "Not stated (add or remove one)",
        "release": "Not stated (the final model)",
    }
)


def in_words(sentence: str) -> str:
    """Replace the names that files use by those on the page, in a sentence for the person there."""
    for name, label in SAID.items():
        sentence = sentence.replace(f"'{name}'", f"“{label}”")
    return sentence
