"""A window that slides over rows: which taps are inside, and how rows are cut into tiles.

Convolutions and pools write a row of output pixels in tiles, small enough that all sums of a tile
stay in registers. Tiles in the middle of a row see whole windows. The first and the last tile may
reach over the border: there each tap counts for some of the pixels only, which is known while the
code is written, so that the code asks nothing and the image needs no frame of zeros.
"""

from dataclasses import dataclass
from typing import NamedTuple

from solutions.phase2_optimization.c_backend.c_text import plus, times


@dataclass(frozen=True)
class Window:
    """The geometry of a convolution or pool; pairs are (vertical, horizontal)."""

    size: tuple[int, int]  # of the input
    out: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]  # top, left

    @property
    def flat(self) -> "Window":
        """The same window over one long row, where every pixel stands for itself."""
        one = (1, 1)
        if (self.kernel, self.strides, self.pads) != (one, one, (0, 0)) or self.size != self.out:
            return self
        row = (1, self.size[0] * self.size[1])
        return Window(row, row, one, one, one, (0, 0))

    def inside(self, pixel: int, tap: int) -> bool:
        """Whether a horizontal tap of an output pixel meets the input."""
        place = pixel * self.strides[1] + tap * self.dilations[1] - self.pads[1]
        return 0 <= place < self.size[1]


class Tile(NamedTuple):
    """``repeat`` runs of ``pixels`` output pixels from ``start``; whole: no tap leaves the row."""

    start: int
    pixels: int
    repeat: int
    whole: bool


def tiles(window: Window, longest: int) -> list[Tile]:
    """Cut a row of output into tiles of at most ``longest`` pixels, nearly equal ones."""
    width = window.out[1]
    number = -(-width // longest)
    sizes = [width // number + (i < width % number) for i in range(number)]
    found: list[Tile] = []
    start = 0
    for pixels in sizes:
        whole = all(
            window.inside(pixel, tap)
            for pixel in (start, start + pixels - 1) for tap in range(window.kernel[1])
        )
        last = found[-1] if found else None
        if last is not None and whole and last.whole and last.pixels == pixels:
            found[-1] = last._replace(repeat=last.repeat + 1)
        else:
            found.append(Tile(start, pixels, 1, whole))
        start += pixels
    return found


def row_loop(window: Window) -> list[str]:
    """C that opens the loop over output rows and says which vertical taps are inside."""
    rows, (height, _) = window.out[0], window.size
    kernel, stride, step, pad = (window.kernel[0], window.strides[0], window.dilations[0],
                                 window.pads[0])
    lines = [f"for (int oy = 0; oy < {rows}; oy++) {{",
             f"    const int top = {times('oy', stride)}{plus(-pad)};"]
    bottom = (rows - 1) * stride - pad + (kernel - 1) * step
    if pad == 0 and bottom < height:
        return [*lines, f"    const int first = 0, last = {kernel};"]
    before = "-top" if step == 1 else f"(-top + {step - 1}) / {step}"
    after = f"{height} - top" if step == 1 else f"({height} - top + {step - 1}) / {step}"
    return [
        *lines,
        f"    const int first = top < 0 ? {before} : 0;",
        f"    const int last = {after} < {kernel} ? {after} : {kernel};",
    ]
