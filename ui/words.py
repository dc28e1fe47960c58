"""What the page calls things: labels, choices and help, in plain words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["ASSUMED", "COMPARED", "HELP", "LABELS", "SAID", "SOLVE_FOR", "in_words"]

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
        "min_separation": "Minimum separation",
        "max_participations": "Most participations",
        "groups": "Groups",
        "mechanism": "Correlated noise",
        "objective": "Error that counts",
        "schedule": "Learning rate",
        "momentum": "Momentum",
        "weight_decay": "Weight decay",
        "final": "Final learning rate",
        "cooldown": "Length of the cooldown",
        "compare_at": "Compare at ε",
        "memory": "Most model copies",
        "parameters": "Model parameters",
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
        "into batches; what is proved to be lost at least is shown as well. **Minimum "
        "separation**: any batches, as long as no example comes back before so many steps, as "
        "servers of federated learning see to it. **Groups in turn**: the examples are split into "
        "groups that take turns, and each example of a group is drawn by the toss of a coin. "
        "**Balls in bins, drawn once**: an example's batch stays its own in every epoch.",
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
        "min_separation": "The least distance between two steps that use the same example: 1 where "
        "they may follow each other, 342 where an example waits for 341 steps in between.",
        "max_participations": "The most steps that use the same example. Left empty: as many as "
        "the separation leaves room for.",
        "groups": "How many groups of examples take turns. More of them leave more room for "
        "correlation, and amplify less.",
        "objective": "The error on what the run estimates, as the noise makes it: its root mean "
        "square over all steps, or that of the worst step.",
        "schedule": "How the learning rate changes. With a constant one, and neither momentum nor "
        "weight decay, a run estimates prefix sums: every step counts the same from then on.",
        "momentum": "Within [0, 1): the share of its last update that the optimizer repeats.",
        "weight_decay": "Within [0, 1): the share of the model that every step forgets, which is "
        "the learning rate times the coefficient of the penalty.",
        "final": "What the learning rate ends at, as a share of what it starts with. Left empty: "
        "0.01.",
        "cooldown": "The share of the steps, at the end, in which the learning rate falls. Left "
        "empty: 0.2.",
        "compare_at": "The cost at which all mechanisms are compared. Left empty: what the plan "
        "costs, rounded up.",
        "memory": "How many arrays of the model's size the noise may keep from one step to the "
        "next. Left empty: any number.",
        "parameters": "How many numbers the model trains, such as 1e8: what a copy of it takes, in "
        "single precision, is worked out from it.",
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
        "min_separation": "Minimum separation (federated)",
        "cyclic_poisson": "Poisson sampling from groups in turn",
        "balls_in_bins_once": "Balls in bins, drawn once",
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
        "mean": "Mean over the steps",
        "max": "Worst step",
        "cosine": "Cosine",
        "linear": "Linear decay",
        "cooldown": "Constant, then a cooldown",
    }
)
ASSUMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sampler": "Not stated (Poisson assumed)",
        "neighboring_relation": "Not stated (add or remove one)",
        "release": "Not stated (the final model)",
        "objective": "Mean over the steps",
        "schedule": "Constant",
    }
)

COMPARED: Final = (
    "Under Poisson sampling every step draws from all examples: one of them may be in two steps in "
    "a row, and correlated noise has nothing to build on. Compared instead are groups of examples "
    "that take turns, with Poisson sampling from the group whose turn it is: more groups leave "
    "room for more correlation, and amplify less."
)


def in_words(sentence: str) -> str:
    """Replace the names that files use by those on the page, in a sentence for the person there."""
    for name, label in SAID.items():
        sentence = sentence.replace(f"'{name}'", f"“{label}”")
    return sentence
