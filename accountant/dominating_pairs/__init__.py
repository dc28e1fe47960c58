"""From an event to the privacy losses that dominate it.

One small function per event class, in a registry; what has no proven loss here is refused with the
reason and an alternative.  Every function returns ``Terms``: the parts of a loss and their counts.
The statements that they rest on are proved or cited in docs/pairs.md.
"""

from accountant.dominating_pairs import (  # noqa: F401 (they register rules)
    allocation,
    fixed_size,
    groups,
    mechanisms,
    poisson,
)
from accountant.dominating_pairs.registry import supported_events, terms

__all__ = ["supported_events", "terms"]
