"""Comparisons of mechanisms, each in a thread, row by row, until they are done or stopped.

Designs are kept for all sessions, whoever asked for them, and so are the comparisons that were
finished. A comparison belongs to the tab that asked for it, which may stop it.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import Thread
from typing import Any, Final, TypeVar

from mechanisms.design_pictures import Picture
from mechanisms.design_pictures import picture as picture_of
from mechanisms.design_views import Measured, Point, Purpose, error_over_steps, measured
from mechanisms.designs import Design
from mechanisms.plan import Plan
from mechanisms.planning.fields import PlanError
from mechanisms.recommendation import Choice, Recommendation, recommend
from mechanisms.strategies import Strategy
from ui.answers import kept
from ui.state import spoken

__all__ = ["Asked", "Job", "curve", "job_for", "picture"]

T = TypeVar("T")

_KEPT: Final = 32  # finished comparisons


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared: the plan without noise or mechanism, as JSON, at a cost, for a purpose."""

    plan: str
    epsilon: float
    purpose: Purpose


class StoppedError(Exception):
    """Whoever asked wants no more."""


class _Later(Future[T]):
    """A future that is worked out by whoever asks for it first."""

    def __init__(self, job: "Job", work: Callable[[], T]) -> None:
        super().__init__()
        self._job, self._work = job, work

    def result(self, timeout: float | None = None) -> T:
        """Work it out, unless the comparison that it is for was stopped."""
        if self._job.stopped:
            raise StoppedError
        return self._work()


class Job(Executor):
    """One comparison, under way or done, in a thread of its own.

    It is the executor that `recommend` is given: so it hears of every design, which is kept.

    Attributes
    ----------
    asked : Asked
    rows : Future
        Done when every mechanism was looked at, or no more will be.
    future : Future
        Done when the best possible was bounded too, or nothing will be done any more.
    bounding : bool
        Whether all that is left is to bound what any mechanism could reach.
    stopped : bool
    refusal : str or None
        Why there is nothing to compare.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.bounding = self.stopped = False
        self.refusal: str | None = None
        self._found: list[Measured] = []
        self._refused: list[tuple[str, str]] = []
        self._whole: Recommendation | None = None
        self._designs: list[Future[Any]] = []
        self.rows: Future[None] = Future()
        self.future: Future[None] = Future()
        # A server that is told to end does not wait for it.
        Thread(target=self._run, name="comparison", daemon=True).start()

    @property
    def total(self) -> int:
        """Designs that it has asked for so far."""
        return len(self._designs)

    @property
    def looked_at(self) -> int:
        """Designs that were priced or given up so far."""
        return len((*self._found, *self._refused))

    @property
    def found(self) -> tuple[Measured, ...]:
        """What was compared so far, the least error first."""
        return tuple(sorted(self._found, key=lambda one: one.choice.error))

    @property
    def recommendation(self) -> Recommendation | None:
        """What to recommend, of what was compared so far; None before anything was."""
        if self._whole is not None or not self._found:
            return self._whole
        choices = tuple(one.choice for one in self.found)
        asked = self.asked
        return Recommendation(
            choices, tuple(self._refused), asked.epsilon, asked.purpose.objective, None
        )

    @property
    def compared(self) -> bool:
        """Whether every design was looked at."""
        return self._whole is not None

    def stop(self) -> None:
        """Begin nothing more."""
        self.stopped = True

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Have a design made when it is asked for, unless it has been made before."""
        later: Future[T] = _Later(self, partial(kept, fn, *args, **kwargs))
        self._designs.append(later)
        return later

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # for the page that waits
            self.future.set_exception(error)
        else:
            self.future.set_result(None)

    def _work(self) -> None:
        plan, purpose = Plan.from_json(self.asked.plan), self.asked.purpose
        try:
            workload = purpose.workload(plan.steps or 1)

            def take(choice: Choice | tuple[str, str]) -> None:
                if isinstance(choice, Choice):
                    self._found.append(measured(choice, workload))
                else:
                    self._refused.append(choice)
                if self.stopped:
                    raise StoppedError

            def compared(designs: tuple[Design, ...] | None, quick: bool) -> Recommendation:
                return recommend(
                    plan,
                    epsilon=self.asked.epsilon,
                    objective=purpose.objective,
                    workload=workload,
                    designs=designs,
                    quick=quick,
                    executor=self if quick else None,
                    report=take if quick else None,
                )

            whole = compared(None, quick=True)
            self.bounding = plan.sampler not in ("poisson", "cyclic_poisson")
            self._whole = whole
            self.rows.set_result(None)
            if self.bounding:
                bound = compared((whole.best.design,), quick=False).bound
                self._whole = replace(whole, bound=bound)
        except StoppedError:
            return
        except PlanError as error:
            self.refusal = spoken(error)
        except ValueError as error:
            self.refusal = str(error)
        finally:
            self.bounding = False
            if not self.rows.done():
                self.rows.set_result(None)
        self.stopped = False
        _FINISHED[self.asked] = self
        while len(_FINISHED) > _KEPT:
            _FINISHED.popitem(last=False)


_FINISHED: Final[OrderedDict[Asked, Job]] = OrderedDict()


def job_for(asked: Asked, last: Job | None) -> Job:
    """Return the comparison that was asked for: a tab's last one, a finished one, or a new one."""
    if last is not None and last.asked == asked:
        return last
    if last is not None:
        last.stop()
    return _FINISHED.get(asked) or Job(asked)


@lru_cache(maxsize=256)
def curve(plan: Plan, purpose: Purpose) -> tuple[Point, ...] | str:
    """Return the error over a plan's steps, or a sentence that says why it is not drawn."""
    try:
        return error_over_steps(plan, purpose.workload(plan.steps or 1))
    except ValueError as error:
        return str(error)


@lru_cache(maxsize=64)
def picture(strategy: Strategy, beginning: bool) -> Picture | str:
    """Return a picture of a strategy's matrices, or a sentence that says why there is none."""
    try:
        return picture_of(strategy, beginning=beginning)
    except ValueError as error:
        return str(error)
