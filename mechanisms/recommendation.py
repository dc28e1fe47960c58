"""Which mechanism a plan should use: every strategy at the same privacy, and a reason."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from accountant import CalibrationError, UnsupportedEventError
from accountant.parameters import whole_count
from accountant.statement import rounded_up
from mechanisms.comparison import Row, bound_of, entries
from mechanisms.designs import Design, Objective, Run, suitable
from mechanisms.lower_bounds import LowerBound
from mechanisms.participation import CyclicPoisson
from mechanisms.plan import Plan
from mechanisms.planning.fields import PlanError, finite_number
from mechanisms.planning.participation import participation
from mechanisms.strategies import Identity, Strategy
from mechanisms.workloads import Workload

__all__ = ["Choice", "Recommendation", "recommend"]

# Choices this close to the best are as good: then the one that keeps less is preferred.
_AS_GOOD = 1.01
# In percent: noise is the least that meets the target up to a millionth, and rounding.
_SLACK = 1.1e-4
_WORTH_SAYING = 0.01  # percent


@dataclass(frozen=True, slots=True)
class Choice:
    """One mechanism for a plan, at the epsilon that was asked for.

    Attributes
    ----------
    design : Design
    plan : Plan
        With this mechanism, and the least noise that meets the target.
    error : float
        Root mean square standard error over steps (of objective "max": the largest) on the
        workload, in clipping norms: what the noise does to what is estimated.
    memory : int
        Arrays of the model's size that its noise keeps between steps.
    sensitivity_exact : bool
        Whether the sensitivity is attained, rather than an upper bound.
    """

    design: Design
    plan: Plan
    error: float
    memory: int
    sensitivity_exact: bool

    @property
    def title(self) -> str:
        """What it is called, with the groups that it needs."""
        groups = self.plan.groups
        if self.plan.sampler != "cyclic_poisson" or groups is None or groups == 1:
            return self.design.title
        return f"{self.design.title}, {groups} groups"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Mechanisms for a plan, the least error first.

    Attributes
    ----------
    choices : tuple of Choice
    refused : tuple of (str, str)
        What was tried without success, and why.
    epsilon : float
        The target that every choice meets.
    objective : {"mean", "max"}
    bound : LowerBound or None
        What no factorization can beat at noise multiplier 1, where one is known.
    """

    choices: tuple[Choice, ...]
    refused: tuple[tuple[str, str], ...]
    epsilon: float
    objective: Objective
    bound: LowerBound | None = field(default=None)

    @property
    def best(self) -> Choice:
        """The choice that keeps least between steps, of those within one percent of the best."""
        return _leanest(self.choices)

    @property
    def independent(self) -> Choice | None:
        """The choice of independent noise; None where it was not tried."""
        return next((c for c in self.choices if c.design.kind == "identity"), None)

    def gap(self, choice: Choice) -> float | None:
        """Return by how many percent a choice may be above the best possible; None if unknown."""
        if self.bound is None or not self.bound.value > 0.0:
            return None
        noise, mechanism = choice.plan.noise_multiplier, choice.plan.mechanism
        if noise is None or isinstance(mechanism, str):
            # Independent noise is composed step by step: compare it with another one's multiplier.
            other = next((c for c in self.choices if not isinstance(c.plan.mechanism, str)), None)
            if other is None:
                return None
            noise = other.plan.noise_multiplier
        if noise is None:
            return None
        return 100.0 * (choice.error / (noise * self.bound.value) - 1.0)

    @property
    def words(self) -> tuple[str, ...]:
        """Why the best choice is preferred, in a few sentences."""
        best, independent = self.best, self.independent
        how = "root mean square" if self.objective == "mean" else "largest"
        said = [
            f"Use {best.title}: at epsilon = {self.epsilon:g} the {how} error of what is estimated "
            f"is {best.error:.4g} clipping norms."
        ]
        if independent is not None and independent is not best:
            said.append(
                f"Independent noise has {independent.error / best.error:.3g} times as much."
            )
        gap = self.gap(best)
        if gap is not None:
            above = rounded_up(max(gap, 0.0) + _SLACK, 2)
            said.append(f"That is at most {above} % above what any factorization can reach.")
        else:
            said.append("How much better another mechanism could do is not known here.")
        least = self.choices[0]
        percent = 100.0 * (1.0 - least.error / best.error)
        if percent >= _WORTH_SAYING:
            said.append(
                f"{least.title} would do {_percent(percent)} better, and keep {least.memory} model "
                f"copies instead of {best.memory}."
            )
        else:
            said.append(f"Its noise keeps {_copies(best.memory)} between steps.")
        less, others = "With less memory", [c for c in self.choices if c.memory < best.memory]
        if best.design.kind == "dense":
            said.append("Instead, every step draws the random numbers of earlier ones again.")
            less, others = "Without that", [c for c in self.choices if c.design.kind != "dense"]
        if others:
            other = _leanest(others)
            percent = 100.0 * (other.error / best.error - 1.0)
            said.append(
                f"{less}, {other.title} ({_copies(other.memory)}) has {_percent(percent)} more "
                "error."
            )
        if not best.sensitivity_exact:
            said.append("Its sensitivity is an upper bound: its true cost may be lower.")
        return tuple(said)


def recommend(
    plan: Plan,
    *,
    epsilon: float | None = None,
    memory: int | None = None,
    objective: Objective = "mean",
    workload: Workload | None = None,
    designs: Sequence[Design] | None = None,
    quick: bool = False,
    executor: Executor | None = None,
    report: Callable[[Choice | tuple[str, str]], None] | None = None,
) -> Recommendation:
    """Compare all strategies for a plan, at the same epsilon.

    A plan with Poisson sampling is also tried with groups that take turns, because correlated noise
    needs a distance between the steps of one example: more groups, more correlation and less
    amplification (arXiv 2306.08153).

    Parameters
    ----------
    plan : Plan
        With a delta, steps and a batch size.
    epsilon : float, optional
        Target; without it, what the plan costs as it is.
    memory : int, optional
        Arrays of the model's size that noise may keep between steps; without it, any number.
    objective : {"mean", "max"}
        Whether the mean squared error over steps counts, or the largest.
    workload : Workload, optional
        What is estimated; without it, prefix sums: SGD with a constant learning rate.
    designs : sequence of Design, optional
        What to try; without it, what suits the run.
    quick : bool
        Whether to take the lower bound from closed forms alone; see `comparison.bound_of`.
    executor : concurrent.futures.Executor, optional
        Where strategies are made; without it, here.
    report : callable, optional
        Called with every choice, or with what is refused and why, as it is ready.

    Raises
    ------
    PlanError
        If the plan leaves open what is to be compared.
    CalibrationError
        If nothing meets the target.
    """
    base = plan.replace(mechanism=None)
    if base.steps is None:
        raise PlanError("steps", None, "given, to design a mechanism for them")
    if base.delta is None:
        raise PlanError("delta", None, "given, to compare at the same epsilon")
    target = _target(plan, epsilon)
    limit = None if memory is None else whole_count(memory, "memory")
    found: list[Choice] = []
    refused: list[tuple[str, str]] = []

    def keep(choice: Choice | tuple[str, str]) -> None:
        if report is not None:
            report(choice)
        if isinstance(choice, Choice):
            found.append(choice)
        else:
            refused.append(choice)

    runs = tuple(_runs(base, objective, workload))
    for variant, run in runs:
        chosen = _suited(variant, run, limit) if designs is None else tuple(designs)
        for row in entries(chosen, run, executor, limit):
            if isinstance(row, Row):
                keep(_priced(variant, row, run, target))
            else:
                keep((row.design.title, row.reason))
    found.sort(key=lambda choice: choice.error)
    if not found:
        reasons = "; ".join(f"{title}: {reason}" for title, reason in refused[:3])
        raise CalibrationError(f"No mechanism meets epsilon={target!r}: {reasons}")
    bound = None
    if base.sampler in ("fixed_order", "min_separation", "full_batch", "shuffled"):
        bound = bound_of(runs[0][1], quick)
    return Recommendation(tuple(found), tuple(refused), target, objective, bound)


def _target(plan: Plan, epsilon: float | None) -> float:
    """Return the epsilon that every choice has to meet."""
    if epsilon is None:
        if plan.noise_multiplier is None:
            raise PlanError("epsilon", None, "given, or noise_multiplier, to compare at one cost")
        return plan.epsilon
    allowed = "a number in the interval (0, inf)"
    if not finite_number("epsilon", epsilon, allowed) > 0:
        raise PlanError("epsilon", epsilon, allowed)
    return float(epsilon)


def _runs(plan: Plan, objective: Objective, workload: Workload | None) -> list[tuple[Plan, Run]]:
    """Return the ways to draw batches that are compared, and what is designed for each of them."""
    steps = plan.steps or 1
    if plan.sampler not in ("poisson", "cyclic_poisson"):
        return [(plan, Run(steps, participation(plan), workload, objective))]
    size, batch = plan.dataset_size, plan.fields.batch_size
    most = 1
    if size is not None and batch is not None and plan.max_batch_size is None:
        most = min(size // batch, steps)
    if plan.group_size > 1:
        most = 1
    groups = sorted({2**i for i in range(10) if 2**i <= most} | {plan.groups or 1})
    # The number of steps is held: epochs mean the same in groups.
    found = []
    for count in groups:
        variant = plan
        if count > 1 or plan.groups is not None:
            variant = plan.replace(sampler="cyclic_poisson", groups=count, steps=steps)
        share = variant.sampling_probability
        if share is None:
            raise PlanError("batch_size", None, "given; so may sampling_probability")
        found.append((variant, Run(steps, CyclicPoisson(count, share), workload, objective)))
    return found


def _suited(plan: Plan, run: Run, memory: int | None) -> tuple[Design, ...]:
    """Return what to try; with groups that take turns, as many bands as there are groups."""
    if not isinstance(run.participation, CyclicPoisson):
        return suitable(run, memory)
    count = run.participation.groups
    if count == 1:
        return (Design("identity"),)
    chosen = Design("toeplitz", count)
    return (chosen,) if memory is None or chosen.memory(run) <= memory else ()


def _priced(plan: Plan, row: Row, run: Run, epsilon: float) -> Choice | tuple[str, str]:
    """Return the choice with the least noise that meets the target, or why there is none."""
    mechanism: Strategy | str = row.strategy
    if isinstance(row.strategy, Identity):
        mechanism = "identity"
    try:
        found = plan.replace(mechanism=mechanism, noise_multiplier=None)
        found = found.calibrate(epsilon=epsilon)
        scale = found.noise_stddev / found.clip_norm
    except (CalibrationError, UnsupportedEventError, PlanError) as error:
        return row.design.title, str(error)
    return Choice(
        design=row.design,
        plan=found,
        error=scale * row.error(run.objective) / row.sensitivity.value,
        memory=row.memory,
        sensitivity_exact=row.sensitivity.exact,
    )


def _leanest(choices: Sequence[Choice]) -> Choice:
    """Return the choice that keeps least, of those that are as good as the best."""
    least = min(choice.error for choice in choices)
    near = [choice for choice in choices if choice.error <= _AS_GOOD * least]
    # A dense mechanism keeps nothing, and draws everything again for every step.
    return min(near, key=lambda c: (c.design.kind == "dense", c.memory, c.error))


def _copies(count: int) -> str:
    return {0: "nothing", 1: "one model copy"}.get(count, f"{count} model copies")


def _percent(value: float) -> str:
    """Write a share as one reads it: 0.3 %, 12 %, 120 %."""
    return f"{value:.2g} %" if value < 99.5 else f"{value:.0f} %"
