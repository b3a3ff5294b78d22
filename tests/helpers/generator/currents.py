"""Blocks in which currents go on past neurons: membrane shortcuts, layers in a row."""

from __future__ import annotations

from helpers.generator.writer import Block, Writer
from purespike.compiler.ir.ops import AvgPool2d


def shortcut(w: Writer, source: str) -> str:
    """MS-ResNet: what reaches one neuron also reaches the next, with what that one sends."""
    channels = w.pick(2, 4)
    current = w.conv(source, out=channels, same=True)
    for _ in range(w.pick(1, 1, 2)):
        fired = w.fire(current, plain=True)
        more = w.conv(fired, out=channels, same=True, kind=w.pick("plain", "one", "grouped"))
        more = w.norm(more) if w.chance(0.3) else more
        current = w.total(*w.pick((current, more), (more, current)))
    return w.fire(current, plain=True)


def wider(w: Writer, source: str) -> str:
    """A membrane shortcut whose current changes its width or its size on the way."""
    current = w.conv(source, out=4, same=True, kind=w.pick("plain", "one", "grouped"))
    fired = w.fire(current, plain=True)
    size = w.shape(current)[1:]
    stride = (min(2, size[0]), min(2, size[1]))
    more = w.conv(fired, out=4, same=True, kind=w.pick("plain", "grouped", "one"))
    running = w.total(current, more)
    kind = w.pick("point", "point", "strided", "kernel", "mean")
    if kind == "mean":
        return w.fire(w.add("mean", AvgPool2d(stride, stride), running), plain=True)
    if kind == "kernel":  # no padding: the layers of the sum compose with it
        return w.fire(w.conv(running, out=3, kind="bare"), plain=True)
    wide = w.conv(running, out=6, kind="one", stride=stride if kind == "strided" else (1, 1))
    return w.fire(wide, plain=True)


def in_a_row(w: Writer, source: str) -> str:
    """RepConv: 1x1, depthwise or plain, 1x1, with nothing between them."""
    channels = w.shape(source)[0]
    first = w.pick("scale", "one", "one", "depthwise")
    if first == "scale":
        current = w.factor(source, 1.0, 2.0, -1.0, by="channel")
    else:
        current = w.conv(source, out=channels, same=True, kind=first, bias=False)
    if w.chance(0.3):
        w.fire(current, plain=True)  # read by something else, too
        side = w.graph.nodes[-1].name
        w.kept.append(side)
    # What the second one pads is off the map of a kernel of one pixel, and of no other.
    second = ("bare", "one") if first == "depthwise" else ("depthwise", "bare", "plain")
    current = w.conv(current, out=channels, kind=w.pick(*second))
    if w.chance(0.5):
        current = w.conv(current, kind="one")
    return w.fire(current, plain=True)


def biased_in_a_row(w: Writer, source: str) -> str:
    """Two layers in a row of which both have a bias, and the second pads nothing."""
    first = w.conv(source, same=True, kind=w.pick("plain", "one", "depthwise"), bias=True)
    return w.fire(w.conv(first, kind="bare", bias=True), plain=True)


SHORTCUTS: tuple[Block, ...] = (shortcut, wider, wider, in_a_row, in_a_row)
