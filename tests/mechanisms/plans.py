"""Plans for tests that hold for any of them."""

from typing import Any

import hypothesis.strategies as st

from mechanisms import Plan
from mechanisms.planning.fields import RELEASES

counts = st.integers(1, 10**12)
positive = st.floats(1e-3, 1e3)
probabilities = st.floats(1e-9, 1.0)
# Whatever passes the check of a unit, what YAML and Markdown and TeX could take amiss included.
units = st.one_of(
    st.sampled_from(
        [
            "user",
            "yes",
            "null",
            "1e5",
            "~",
            "- x",
            "a: b",
            "# c",
            "2001-01-01",
            "é|*_$%&\\{`",
            "<b>",
        ]
    ),
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=100).filter(
        lambda text: text.strip()
    ),
)


@st.composite
def fields(draw: st.DrawFn, complete: bool = False) -> dict[str, Any]:
    """The fields of a valid plan; all that an epsilon needs where `complete` is set."""
    given: dict[str, Any] = {}

    def maybe(name: str, strategy: st.SearchStrategy[Any]) -> None:
        if draw(st.booleans()):
            given[name] = draw(strategy)

    sampler = draw(st.sampled_from(["poisson", "full_batch", "fixed_order"]))
    if sampler != "poisson" or draw(st.booleans()):
        given["sampler"] = sampler
    relations = ["add_or_remove_one", "replace_special", "replace_one"]
    if sampler == "poisson":
        relations.remove("replace_one")
    if sampler == "fixed_order":
        relations.remove("add_or_remove_one")
        given["neighboring_relation"] = draw(st.sampled_from(relations))
    else:
        maybe("neighboring_relation", st.sampled_from(relations))

    maybe("dataset_size", counts)
    if sampler == "poisson" and draw(st.booleans()):
        given["sampling_probability"] = draw(probabilities)
    elif sampler != "full_batch" and (complete or draw(st.booleans())):
        size = given.setdefault("dataset_size", draw(counts))
        given["batch_size"] = draw(st.integers(1, size))
    if complete or draw(st.booleans()):
        steps = st.tuples(st.just("steps"), st.integers(1, 10**6))
        epochs = st.tuples(st.just("epochs"), st.one_of(st.integers(1, 100), st.floats(0.01, 100)))
        name, value = draw(st.one_of(steps, epochs))
        given[name] = value
    for name, strategy in (("noise_multiplier", positive), ("delta", st.floats(1e-30, 0.5))):
        if complete:
            given[name] = draw(strategy)
        else:
            maybe(name, strategy)
    maybe("clip_norm", positive)
    maybe("unit", units)
    maybe("group_size", st.integers(1, min(100, given.get("dataset_size", 100))))
    maybe("release", st.sampled_from(RELEASES))
    maybe("mechanism", st.just("identity"))
    return given


plans = fields().map(lambda given: Plan(**given))
complete_plans = fields(complete=True).map(lambda given: Plan(**given))
