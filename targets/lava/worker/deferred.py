"""Leaves scipy.signal out of a worker's start, of which it is two thirds.

Lava imports it for its stock convolution alone, which `fast_models` replaces.
"""

import importlib
import sys
import types

NAME = "scipy.signal"


def defer():
    """Puts an empty module in its place; call it before the first import of lava."""
    sys.modules.setdefault(NAME, types.ModuleType(NAME))


def load():
    """Gives it to Lava's convolution after all; call it before processes are forked."""
    from lava.proc.conv import utils

    if utils.signal.__spec__ is None:  # the empty module
        sys.modules.pop(NAME, None)
        utils.signal = importlib.import_module(NAME)


def without_fortran():
    """Leaves out numpy.f2py, a fifth of the rest; call it before the first import of scipy.

    scipy asks numpy for all its names, and so for this translator of Fortran.
    """
    import numpy

    numpy.f2py = types.ModuleType("numpy.f2py")
