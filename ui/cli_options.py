"""What the commands of `dp-planner` share: numbers as people type them, plans from flags."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import click

from mechanisms.plan import Plan
from mechanisms.planning.fields import DEFAULTS, FIELDS, NEIGHBORING_RELATIONS, RELEASES, SAMPLERS
from ui.entries import EntryError, parse_number
from ui.plan_files import read_mechanism, read_plan

if TYPE_CHECKING:
    NumberType = click.ParamType[int | float]
else:  # older versions of click know no type of what is converted
    NumberType = click.ParamType

__all__ = ["NUMBER", "json_option", "output_option", "plan_of", "plan_options"]

_DRAWN: Final = {
    "poisson": "each example independently, in every step",
    "full_batch": "all examples in every step",
    "fixed_order": "fixed batches in turn, no amplification",
    "without_replacement": "batches of fixed size, drawn afresh for every step",
    "balls_in_bins": "each example in one random batch of every epoch",
    "shuffled": "batches of data shuffled in every epoch, no amplification",
    "min_separation": "any batches, an example comes back after so many steps at the earliest",
    "cyclic_poisson": "groups in turn, each example of the group independently",
    "balls_in_bins_once": "each example in one random batch, the same in every epoch",
}
_HELP: Final = {
    "dataset_size": "Number of examples: 60000, 9.6e9.",
    "batch_size": "Expected number of examples in a step.",
    "sampling_probability": "Probability that an example takes part in a step; or batch size.",
    "epochs": "Passes over the data; or steps.",
    "steps": "Number of noisy steps.",
    "noise_multiplier": "Standard deviation of the noise over the clipping norm.",
    "clip_norm": "Largest norm of one example's gradient.",
    "delta": "Probability that epsilon leaves out.",
    "sampler": "How batches are drawn. " + " ".join(f"{s}: {_DRAWN[s]}." for s in SAMPLERS),
    "max_batch_size": "A cap on the batch: larger ones are cut at random (with poisson only).",
    "min_separation": "Least distance between two steps of one example (min_separation only).",
    "max_participations": "Most steps of one example (min_separation only).",
    "groups": "Groups of examples that take turns (cyclic_poisson only).",
    "neighboring_relation": f"Which data sets are neighbours: {', '.join(NEIGHBORING_RELATIONS)}.",
    "unit": "What one row of the data set is.",
    "group_size": "How many rows are protected together.",
    "release": f"What leaves the run: {', '.join(RELEASES)}.",
    "mechanism": "How noise is correlated: identity, for not at all, or the JSON of a strategy, or "
    "the name of its file, as the command design writes it.",
}
_WORDS: Final = ("sampler", "neighboring_relation", "unit", "release", "mechanism")


class Number(NumberType):
    """A number as people write it: 60000, 9.6e9, 517,989, 1.1e-10, 1/60000."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Return the number exactly where it is whole, else the float nearest to it."""
        if not isinstance(value, str):
            return cast("int | float", value)
        try:
            number = parse_number(value)
        except EntryError as error:
            self.fail(str(error), param, ctx)
        return number.numerator if number.denominator == 1 else float(number)


NUMBER: Final = Number()


def plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a plan file and a flag for every field of a Plan."""
    for name in reversed(FIELDS):
        default = DEFAULTS.get(name)
        help_text = _HELP[name] + (f" Default: {default}." if default is not None else "")
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=str if name in _WORDS else NUMBER,
            metavar="WORD" if name in _WORDS else "NUMBER",
            help=help_text,
        )(command)
    return click.option(
        "--plan", "plan_file", metavar="FILE", help="A plan in JSON or YAML; - for standard input."
    )(command)


def plan_of(plan_file: str | None, fields: dict[str, Any]) -> Plan:
    """Return the plan of a command line: its file, with the flags on top."""
    flags = {name: value for name, value in fields.items() if value is not None}
    if "mechanism" in flags:
        flags["mechanism"] = read_mechanism(flags["mechanism"])
    return read_plan(plan_file).replace(**flags) if plan_file is not None else Plan(**flags)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def output_option(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for the file that its answer is written to."""
    return click.option("--output", metavar="FILE", help=f"Write {what} to this file.")
