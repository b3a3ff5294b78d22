"""Makes lava-nc 0.10.0 import on Python 3.11 and newer, which it does not declare to support.

Lava has dataclass fields whose default is an instance of a class that defines `__eq__` and no
`__hash__` (`lava/magma/compiler/var_model.py`). Python 3.11 takes every unhashable default for a
mutable one and refuses it. The shim gives the classes of such defaults a hash while Lava's
dataclasses are made; nothing else of Python or Lava is changed.
"""

import dataclasses
import sys


def needed():
    """Whether this Python refuses Lava's dataclasses."""
    return sys.version_info >= (3, 11)


def install():
    """Puts the shim in force if this Python needs it; call it before the first import of lava."""
    if not needed():
        return
    original = dataclasses._get_field

    def get_field(cls, name, annotation, default_kw_only):
        default = getattr(cls, name, dataclasses.MISSING)
        kind = type(default)
        if kind.__module__.startswith("lava.") and kind.__hash__ is None:
            kind.__hash__ = object.__hash__
        return original(cls, name, annotation, default_kw_only)

    dataclasses._get_field = get_field


def widen():
    """Lets Lava's own convolution take more than 127 rows or channels with numpy 2.

    Lava keeps stride, padding, dilation and groups as int8 and computes sizes with them. numpy 2
    does that in int8, where older ones widened. Call it after `install`.
    """
    from lava.proc.conv import utils

    original = utils.conv_scipy

    def conv_scipy(input_, weight, kernel_size, stride, padding, dilation, groups):
        pairs = (kernel_size, stride, padding, dilation)
        geometry = (tuple(int(n) for n in pair) for pair in pairs)
        return original(input_, weight, *geometry, int(groups))

    utils.conv_scipy = conv_scipy
