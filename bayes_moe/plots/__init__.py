"""Pictures of a fit, and of choices between fits, drawn by matplotlib: one plot a file, each returns what it drew.

Every plot takes any fit, whichever engine made it. Those along a covariate let one column vary and hold the others
at their medians, as the title of the axis then says. An expert has the same colour in all of them. A plot draws into
the axes it is given, or makes a figure of its own; it never shows one, and never changes matplotlib's settings.
"""

from .calibration import calibration
from .convergence import convergence
from .density import density
from .experts import experts
from .gate import gate
from .predictive import predictive
from .responsibilities import responsibilities
from .selection import selection
from .tree import tree

__all__ = [
    "calibration",
    "convergence",
    "density",
    "experts",
    "gate",
    "predictive",
    "responsibilities",
    "selection",
    "tree",
]
