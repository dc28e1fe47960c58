"""One training run with differential privacy, described once and for all."""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from mechanisms.planning import calibration, event, file, guarantee, participation
from mechanisms.planning.fields import DEFAULTS, FIELDS, validated
from mechanisms.planning.schedule import settled
from mechanisms.planning.values import PlanValues

if TYPE_CHECKING:
    import numpy as np
    from dp_accounting import DpEvent, NeighboringRelation

    from accountant import PrivacyLoss
    from accountant.guarantee import Guarantee
    from mechanisms.strategies import Strategy

    Number: TypeAlias = int | float | np.integer[Any] | np.floating[Any]

__all__ = ["Plan"]

# Each pair says the same in two ways; a plan stores one of the two.
_TWINS = (("batch_size", "sampling_probability"), ("epochs", "steps"))


class Plan(PlanValues):
    """An immutable, validated description of one DP-SGD run.

    Every step draws a batch, clips each example's gradient to `clip_norm`, adds Gaussian noise of
    standard deviation `noise_stddev` to the sum, and divides by the expected batch size.

    Of `batch_size` and `sampling_probability`, and of `epochs` and `steps`, give one; the other
    follows and can be read from the plan all the same. One of noise multiplier, batch size and
    length may be left out: `calibrate` finds it. Whole numbers may be written as floats (9.6e9).

    Parameters
    ----------
    dataset_size : int, optional
        Number of examples. Needed with `batch_size`.
    batch_size : int, optional
        Expected number of examples in one step.
    sampling_probability : float, optional
        Probability that one example takes part in one step, at most 1.
    epochs : int or float, optional
        Passes over the data: steps are ``ceil(epochs * dataset_size / batch_size)``, exactly, and
        ``ceil(epochs * ceil(dataset_size / batch_size))`` for balls in bins and shuffled batches.
    steps : int, optional
        Number of noisy steps.
    noise_multiplier : float, optional
        Standard deviation of the noise on the sum, in units of `clip_norm`.
    clip_norm : float, default 1.0
        Largest norm of one example's gradient. Epsilon does not depend on it.
    delta : float, optional
        In (0, 1); there is no default, because it is a choice that a reader will ask about.
    sampler : str, default "poisson"
        How batches are drawn, and so what the accounting assumes. "poisson": each example on its
        own with `sampling_probability`. "full_batch": all examples in every step. "fixed_order":
        fixed batches in turn, each example at most once per pass, with no amplification by
        sampling. "without_replacement": `batch_size` of the `dataset_size` examples, drawn afresh
        in every step. "balls_in_bins": each example in one, chosen at random, of the
        ``ceil(dataset_size / batch_size)`` batches of every epoch, and whole epochs. "shuffled":
        so many batches of data that is shuffled in every epoch, with no amplification.
        "min_separation": any batches in which no example comes back before `min_separation` steps
        have gone by, as a server of federated learning sees to it. "cyclic_poisson": `groups` of
        examples take turns, and Poisson sampling draws from the group whose turn it is.
        "balls_in_bins_once": balls in bins with the same batch in every epoch.
    max_batch_size : int, optional
        A cap on the batch under Poisson sampling: a larger one is cut to so many of its examples,
        chosen at random. Needs `dataset_size`.
    min_separation : int, optional
        For "min_separation": the least distance between two steps of one example, 1 for
        consecutive ones.
    max_participations : int, optional
        For "min_separation": the most steps of one example; without it, as many as fit.
    groups : int, optional
        For "cyclic_poisson": how many groups of equal size take turns.
    neighboring_relation : str or NeighboringRelation, default "add_or_remove_one"
        Which data sets are neighbours: "add_or_remove_one" (not for "fixed_order", "shuffled" and
        "min_separation"), "replace_special" (one example is zeroed out) or "replace_one" (not for
        balls in bins).
    unit : str, default "example"
        What one row of the data set is, as the statement will call it.
    group_size : int, default 1
        How many examples one protected party contributes, all of which are protected together.
        1 for "without_replacement", "cyclic_poisson" and balls in bins, with a cap, and for Poisson
        sampling under "replace_one".
    release : {"final_model", "all_checkpoints", "all_updates"}, default "final_model"
        What leaves the run. Epsilon covers every noisy update in any case.
    mechanism : "identity" or Strategy, default "identity"
        How noise is correlated over steps: not at all, or as a strategy of
        `mechanisms.strategies` with as many steps. The noise multiplier is then in units of the
        strategy's sensitivity for the sampler's patterns of participation.

    Raises
    ------
    PlanError
        If a field is out of range or contradicts another one.

    Notes
    -----
    Two plans are equal when their JSON is: a default that was stated and the same default left
    unsaid make different plans, because they make different statements.

    Examples
    --------
    >>> plan = Plan(dataset_size=60_000, batch_size=256, epochs=60, noise_multiplier=1.1)
    >>> plan.steps
    14063
    """

    def __init__(
        self,
        *,
        dataset_size: "Number | None" = None,
        batch_size: "Number | None" = None,
        sampling_probability: "Number | None" = None,
        epochs: "Number | None" = None,
        steps: "Number | None" = None,
        noise_multiplier: "Number | None" = None,
        clip_norm: "Number | None" = None,
        delta: "Number | None" = None,
        sampler: str | None = None,
        max_batch_size: "Number | None" = None,
        min_separation: "Number | None" = None,
        max_participations: "Number | None" = None,
        groups: "Number | None" = None,
        neighboring_relation: "str | NeighboringRelation | None" = None,
        unit: str | None = None,
        group_size: "Number | None" = None,
        release: str | None = None,
        mechanism: "str | Strategy | None" = None,
        **unknown: object,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in FIELDS}
        values, stated = validated(given | unknown)
        self._keep(settled(values), stated)

    # -- what a step does -------------------------------------------------------------------------

    @property
    def noise_stddev(self) -> float:
        """Standard deviation by which the mechanism's noise is multiplied, on the sum of gradients.

        It is ``noise_multiplier * clip_norm * sensitivity``; for independent noise the standard
        deviation of every step's noise.
        """
        return participation.noise_stddev(self, float(event.given(self, "noise_multiplier")))

    @cached_property
    def sensitivity(self) -> float:
        """How far one example can move the mechanism's release, in clipping norms; rounded up.

        1 for independent noise, whose steps are composed one by one.
        """
        return participation.sensitivity(self)

    @property
    def noise_to_batch_ratio(self) -> float:
        """Noise multiplier per example of the expected batch: what decides the model's quality.

        Of correlated noise, that of independent noise with the same error on prefix sums.
        """
        noise = float(event.given(self, "noise_multiplier"))
        if "batch_size" not in self.missing:
            event.given(self, "dataset_size")
        batch_size = float(event.given(self, "batch_size"))
        return participation.noise_to_batch_ratio(self, noise, batch_size)

    # -- what it costs ---------------------------------------------------------------------------

    def event(self) -> "DpEvent":
        """Return what the run releases, in dp_accounting's words.

        Raises
        ------
        PlanError
            If the plan leaves open what is released.
        """
        return event.event(self)

    @cached_property
    def loss(self) -> "PrivacyLoss":
        """The run's privacy loss, to be asked for epsilon, delta and the trade-off curve."""
        return event.loss(self)

    @property
    def epsilon(self) -> float:
        """Upper end of epsilon at the plan's delta: certified, safe to publish."""
        return float(event.upper(self).epsilon(event.given(self, "delta")))

    def guarantee(self) -> "Guarantee":
        """Return what the run would guarantee, with every condition of it."""
        return guarantee.guarantee(self)

    # -- other plans -----------------------------------------------------------------------------

    def calibrate(
        self,
        *,
        epsilon: "Number | None" = None,
        advantage: "Number | None" = None,
        tpr: "Number | None" = None,
        fpr: "Number | None" = None,
    ) -> "Plan":
        """Find the one thing that this plan leaves out.

        The smallest noise multiplier, the largest number of steps or the largest batch that meets
        the target. Whichever of epochs and steps was given is held; where neither was, steps are
        found. The answer is never on the wrong side of the target.

        Parameters
        ----------
        epsilon : float, optional
            Target for epsilon at the plan's delta.
        advantage : float, optional
            Target for the advantage of a membership inference attack, in (0, 1).
        tpr, fpr : float, optional
            Target for the true positive rate of an attack at this false positive rate.

        Returns
        -------
        Plan
            A new plan, with nothing missing.

        Raises
        ------
        PlanError
            If the target is out of range, or not exactly one thing is missing.
        CalibrationError
            If nothing meets the target; the message names the best that can be reached.
        """
        return calibration.calibrated(
            self, calibration.target(epsilon=epsilon, advantage=advantage, tpr=tpr, fpr=fpr)
        )

    def replace(self, **changes: Any) -> "Plan":
        """Return a plan with some fields changed; None takes back what was given.

        A new batch size replaces a sampling probability and the other way round, and so do epochs
        and steps; None for either of such a pair takes back both.
        """
        given = {name: getattr(self.fields, name) for name in self.stated}
        for twins in _TWINS:
            if any(name in changes for name in twins):
                for name in twins:
                    given.pop(name, None)
        return Plan(**(given | changes))

    # -- as data ---------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the canonical JSON of the plan, every field of it: what `hash` is the hash of."""
        return file.to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Plan":
        """Read a plan from JSON, which may come from anywhere.

        Raises
        ------
        PlanError
            If the text is not a plan.
        """
        return cls._from_document(*file.read_json(text))

    def to_yaml(self) -> str:
        """Return the plan as YAML 1.2, for people."""
        return file.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str | bytes) -> "Plan":
        """Read a plan from YAML 1.2, which may come from anywhere.

        Raises
        ------
        PlanError
            If the text is not a plan.
        """
        return cls._from_document(*file.read_yaml(text))

    @classmethod
    def _from_document(cls, given: dict[str, Any], unstated: frozenset[str]) -> "Plan":
        # A default that the file marks as not stated and somebody then edited is stated.
        stated = {
            name: value
            for name, value in given.items()
            if not (name in unstated and value == DEFAULTS[name] and value is not True)
        }
        return cls(**stated)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal: the same for the same plan, anywhere."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
