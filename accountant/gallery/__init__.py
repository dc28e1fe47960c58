"""Published privacy guarantees, recomputed: `docs/gallery.md` is the table.

>>> from accountant import gallery
>>> found = gallery.case("gboard-es-2022").recompute()
>>> round(found.as_published, 2), round(found.exact.upper, 2)
(8.9, 8.53)
>>> found.figures[0].verdict
'met'
"""

from accountant.gallery.cases import Case, Recomputation, RecomputedFigure
from accountant.gallery.figures import Figure
from accountant.gallery.loading import case, cases

__all__ = ["Case", "Figure", "Recomputation", "RecomputedFigure", "case", "cases"]
