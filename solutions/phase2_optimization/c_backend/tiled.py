"""Kernels that slide a window over rows of pixels: convolutions and pools.

Each is the same loop nest; only what a tap adds to the sums differs:

    for each group of channel blocks, each output row, each tile of pixels:
        sums = bias                                   (registers: blocks x pixels vectors)
        for each tap that is inside: sums += weights * input
        apply what follows the layer; store

The sums of a tile never leave the registers. Weights are stored in the order of these loops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from solutions.phase2_optimization.c_backend.c_text import indent, plus, times
from solutions.phase2_optimization.c_backend.pointwise import Pointwise, applied, parameters
from solutions.phase2_optimization.c_backend.program import NAME
from solutions.phase2_optimization.c_backend.window import Tile, Window, row_loop, tiles


@dataclass(frozen=True)
class Segment:
    """Input channels that lie alike: ``blocks`` runs of ``channels``, ``step`` floats apart."""

    offset: int  # floats from the image's start
    channels: int
    pixel_step: int  # floats
    channel_step: int
    blocks: int = 1
    step: int = 0


@dataclass(frozen=True)
class Dense:
    """Every output channel reads every input channel of the segments."""

    segments: tuple[Segment, ...]
    takes = ("x", "weights", "bias")
    start = "load{width}(bias{k})"
    name = "convolution"

    def row_weights(self, window: Window, vectors: int) -> int:
        """Floats of weights for one vertical tap."""
        return sum(s.channels * s.blocks for s in self.segments) * window.kernel[1] * vectors

    def steps(self, window: Window, blocks: int, width: int) -> tuple[int, int]:
        """Floats of input and weights from one group of output blocks to the next."""
        return 0, self.row_weights(window, blocks * width) * window.kernel[0]

    def taps(self, window: Window, tile: Tile, blocks: int, width: int) -> list[str]:
        """The sums over the taps of one row of the window."""
        vectors = blocks * width
        lines = [f"const float *w = weights + ky * {self.row_weights(window, vectors)};"]
        for segment in self.segments:
            lines += _segment(window, tile, segment, blocks, width)
        return lines


def _segment(window: Window, tile: Tile, s: Segment, blocks: int, width: int) -> list[str]:
    head = f"const float *in = x{plus(s.offset)} + {times('pixel', s.pixel_step)};"
    if s.blocks > 1:
        lines = ["{", f"    {head}", f"    for (int b = 0; b < {s.blocks}; b++, in += {s.step}) {{"]
        return [*lines, *indent(_taps(window, tile, s, blocks, width), 2), "    }", "}"]
    return ["{", f"    {head}", *indent(_taps(window, tile, s, blocks, width)), "}"]


def _taps(window: Window, tile: Tile, s: Segment, blocks: int, width: int) -> list[str]:
    taps, stride, dilation = window.kernel[1], window.strides[1], window.dilations[1]
    everything, apart = range(tile.pixels), stride * s.pixel_step
    if tile.whole and s.channels == s.pixel_step and s.channel_step == 1 and dilation == 1:
        # channels of neighbouring taps lie one after another
        return _channels(s.channels * taps, 1, apart, everything, blocks, width)
    if tile.whole:
        inner = _channels(s.channels, s.channel_step, apart, everything, blocks, width,
                          kx=f" + kx * {dilation * s.pixel_step}")
        return [f"for (int kx = 0; kx < {taps}; kx++) {{", *indent(inner), "}"]
    lines = []
    for tap in range(taps):
        seen = [p for p in everything if window.inside(tile.start + p, tap)]
        if not seen:
            lines.append(f"w += {s.channels * blocks * width};")
            continue
        lines += _channels(s.channels, s.channel_step, apart, seen, blocks, width,
                           tap * dilation * s.pixel_step)
    return lines


def _channels(
    count: int, step: int, pixel_step: int, seen: Sequence[int], blocks: int, width: int,
    base: int = 0, kx: str = "",
) -> list[str]:
    """Sums over input channels: one vector of weights times one input value, for each pixel."""
    index = times("c", step) + kx
    lines = [f"for (int c = 0; c < {count}; c++, w += {blocks * width}) {{"]
    lines += [f"    const v{width} w{k} = load{width}(w{plus(k * width)});" for k in range(blocks)]
    for p in seen:
        value = f"in[{index}{plus(base + p * pixel_step)}]"
        lines += [f"    a{k}_{p} += w{k} * {value};" for k in range(blocks)]
    return [*lines, "}"]


@dataclass(frozen=True)
class PerChannel:
    """Every output channel reads its own input channel: depthwise convolution and pools."""

    takes: tuple[str, ...]
    start: str
    name: str  # for readers
    tap: str  # a statement on {a}, the sum, {w}, the tap's weights, and {x}, the input's vector
    weighted: bool = False

    def steps(self, window: Window, blocks: int, width: int) -> tuple[int, int]:
        """Floats of input and weights from one group of blocks to the next."""
        return prod(window.size) * width, prod(window.kernel) * width * self.weighted

    def taps(self, window: Window, tile: Tile, blocks: int, width: int) -> list[str]:
        """The sums over the taps of one row of the window."""
        lines = [f"const float *in = x + pixel * {width};"]
        everything = range(tile.pixels)
        if tile.whole:
            step = f" + kx * {window.dilations[1] * width}"
            return [*lines, f"for (int kx = 0; kx < {window.kernel[1]}; kx++) {{",
                    *indent(self._pixels(window, step, "kx", everything, width)), "}"]
        for tap in range(window.kernel[1]):
            seen = [p for p in everything if window.inside(tile.start + p, tap)]
            if seen:
                base = plus(tap * window.dilations[1] * width)
                lines += ["{", *indent(self._pixels(window, base, str(tap), seen, width)), "}"]
        return lines

    def _pixels(
        self, window: Window, base: str, tap: str, seen: Sequence[int], width: int
    ) -> list[str]:
        lines = []
        if self.weighted:
            place = f"(ky * {window.kernel[1]} + {tap}) * {width}"
            lines.append(f"const v{width} w = load{width}(weights + {place});")
        for p in seen:
            x = f"load{width}(in{base}{plus(p * window.strides[1] * width)})"
            lines.append(self.tap.format(a=f"a0_{p}", x=x, w="w", width=width))
        return lines


DEPTHWISE = PerChannel(("x", "weights", "bias"), "load{width}(bias)", "depthwise convolution",
                       "{a} += {w} * {x};", True)
MAX_POOL = PerChannel(("x",), "splat{width}(-INFINITY)", "maximum",
                      "{a} = max{width}({a}, {x});")
SUM_POOL = PerChannel(("x",), "splat{width}(0.0f)", "average", "{a} += {x};")


@dataclass(frozen=True)
class TiledKernel:
    """One kernel: ``groups`` times ``blocks`` channel blocks of ``width`` floats."""

    window: Window
    layer: Dense | PerChannel
    groups: int
    blocks: int
    width: int
    longest: int  # pixels of a tile
    chain: tuple[Pointwise, ...] = ()
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = field(default=None)  # of an average

    def text(self) -> str:
        """The C function, without its name."""
        names = [*self.layer.takes, *parameters(self.chain)]
        head = ", ".join([*(f"const float *{name}" for name in names), "float *y"])
        body = self._rows()
        if self.groups > 1:
            body = [f"for (int g = 0; g < {self.groups}; g++) {{", *indent(body),
                    *indent(self._advance()), "}"]
        return "\n".join([self._about(), f"static void {NAME}({head})", "{", *indent(body), "}"])

    def _about(self) -> str:
        w = self.window
        sizes = [f"{a}x{b}" for a, b in (w.kernel, w.strides, w.dilations, w.size, w.out)]
        return (f"/* {self.layer.name}, windows {sizes[0]}, strides {sizes[1]}, dilations "
                f"{sizes[2]}: {sizes[3]} -> {sizes[4]} pixels,\n   blocks of "
                f"{self.width} channels: {self.groups} x {self.blocks} */")

    def _advance(self) -> list[str]:
        x, weights = self.layer.steps(self.window, self.blocks, self.width)
        vectors = self.blocks * self.width
        plane = prod(self.window.out) * vectors
        steps = {"x": x, "weights": weights, "bias": vectors}
        lines = [f"{name} += {steps[name]};" for name in self.layer.takes if steps[name]]
        for i, stage in enumerate(self.chain):
            if stage.form in ("tensor", "channel"):
                lines.append(f"e{i} += {plane if stage.form == 'tensor' else vectors};")
        return [*lines, f"y += {plane};"]

    def _rows(self) -> list[str]:
        lines = row_loop(self.window)
        for tile in tiles(self.window, self.longest):
            lines += indent(self._tile(tile))
        return [*lines, "}"]

    def _tile(self, tile: Tile) -> list[str]:
        window = self.window
        end = tile.start + tile.pixels * tile.repeat
        place = f"{times('ox', window.strides[1])}{plus(-window.pads[1])}"
        row = f"(top + {times('ky', window.dilations[0])})"
        lines = [f"for (int ox = {tile.start}; ox < {end}; ox += {tile.pixels}) {{"]
        for k in range(self.blocks):
            start = self.layer.start.format(width=self.width, k=plus(k * self.width))
            sums = ", ".join(
                f"a{k}_{p} = {start if p == 0 else f'a{k}_0'}" for p in range(tile.pixels)
            )
            lines.append(f"    v{self.width} {sums};")
        lines += [
            "    for (int ky = first; ky < last; ky++) {",
            f"        const int pixel = {row} * {window.size[1]} + {place};",
            *indent(self.layer.taps(window, tile, self.blocks, self.width), 2),
            "    }",
            f"    const long at = (oy * {window.out[1]}L + ox) * {self.width};",
        ]
        return [*lines, *indent(self._store(tile)), "}"]

    def _store(self, tile: Tile) -> list[str]:
        plane = prod(self.window.out) * self.width
        lines = []
        for k in range(self.blocks):
            for p in range(tile.pixels):
                at = f"at{plus(k * plane + p * self.width)}"
                name = f"a{k}_{p}"
                if self.counts is not None:
                    lines.append(f"{name} /= {self._count(tile, p)};")
                lines += applied(self.chain, name, at, self.width, str(k * self.width))
                lines.append(f"store{self.width}(y + {at}, {name});")
        return lines

    def _count(self, tile: Tile, p: int) -> str:
        """How many values an average is over, as C."""
        assert self.counts is not None
        rows, columns = self.counts
        pixels = [columns[tile.start + i * tile.pixels + p] for i in range(tile.repeat)]
        assert len(set(pixels)) == 1, "tiles in the middle of a row count alike"
        if len(set(rows)) == 1:
            return f"{rows[0] * pixels[0]}.0f"
        table = ", ".join(str(row * pixels[0]) for row in rows)
        return f"(float)(const int[]){{{table}}}[oy]"
