"""Plans of differentially private training runs, and the mechanisms they are made of.

- `Plan`: one run, described, validated and immutable; it knows its epsilon and solves for what is
  left out.
- `PlanError`: why a description of a run does not hold, in one sentence.
"""

from mechanisms.plan import Plan
from mechanisms.plan_fields import PlanError

__all__ = ["Plan", "PlanError"]
