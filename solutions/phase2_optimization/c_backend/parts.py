"""What kernels with windows share: geometry, tiles that fit the registers, runs of blocks."""

from typing import NamedTuple

from solutions.phase2_optimization.c_backend.blocks import Block
from solutions.phase2_optimization.c_backend.fusion import Group
from solutions.phase2_optimization.c_backend.lowering import Lowering
from solutions.phase2_optimization.c_backend.program import Call, Pointer, Value
from solutions.phase2_optimization.c_backend.tiled import TiledKernel
from solutions.phase2_optimization.c_backend.window import Window, tiles
from solutions.phase2_optimization.onnx_rewrite import Node, attribute
from zoo.errors import InferenceError

REGISTERS = {16: 32, 8: 16, 4: 16}  # vector registers by lanes: AVX-512, AVX, SSE


def window_of(low: Lowering, node: Node) -> Window:
    """The geometry of a Conv or pool; raises InferenceError where it is not of two dimensions."""
    shape, out = low.shape(node.input[0]), low.shape(node.output[0])
    if len(shape) != 4:
        raise InferenceError(
            f"{node.name or node.op_type}: the C back end knows {node.op_type} of images only, "
            f"not of shape {shape}"
        )
    kernel = attribute(node, "kernel_shape") or low.shape(node.input[1])[2:]
    strides = attribute(node, "strides", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    pads = tuple(attribute(node, "pads", [0, 0, 0, 0]))
    padding = attribute(node, "auto_pad", "NOTSET")
    if padding in ("SAME_UPPER", "SAME_LOWER"):
        begin = []
        for axis in range(2):
            reach = (out[2 + axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
            missing = max(0, reach - shape[2 + axis])
            begin.append(missing // 2 if padding == "SAME_UPPER" else missing - missing // 2)
        pads = (*begin, 0, 0)
    elif padding == "VALID":
        pads = (0, 0, 0, 0)
    return Window((shape[2], shape[3]), (out[2], out[3]), (kernel[0], kernel[1]),
                  (strides[0], strides[1]), (dilations[0], dilations[1]), (pads[0], pads[1]))


class Tiling(NamedTuple):
    """Channel blocks at once, and the most pixels beside each other."""

    blocks: int
    pixels: int


def best_tiling(window: Window, blocks: int, registers: int) -> Tiling:
    """The tile whose sums fit the registers and that loads least for what it computes.

    A step of a tile takes a product for each sum, but not less than the latency of one, and a load
    for each block's weights and each pixel's input.
    """
    def cost(tiling: Tiling) -> float:
        steps = 0.0
        for count in [tiling.blocks] * (blocks // tiling.blocks) + [1] * (blocks % tiling.blocks):
            for tile in tiles(window, tiling.pixels):
                sums = count * tile.pixels
                steps += tile.repeat * (max(sums, 6) + 0.5 * (count + tile.pixels) + 1)
        return steps

    fitting = [Tiling(k, longest_tile(k, registers)) for k in range(1, min(4, blocks) + 1)]
    return min(fitting, key=cost)


def longest_tile(blocks: int, registers: int) -> int:
    """Pixels of a tile of so many blocks: their sums beside the weights and an input value."""
    return (registers - 2 - blocks) // blocks - (blocks > 1)


class Part(NamedTuple):
    """Neighbouring channel blocks of one width that one call of a kernel computes."""

    blocks: list[Block]
    together: int  # blocks of a tile


def parts_of(found: list[Block], together: int) -> list[Part]:
    """Blocks in runs of equal width: as many multiples of ``together`` as there are, the rest."""
    parts = []
    for width in dict.fromkeys(block.width for block in found):
        run = [block for block in found if block.width == width]
        whole = len(run) // together * together
        parts += [Part(run[:whole], together)] if whole else []
        parts += [Part(run[whole:], len(run) - whole)] if len(run) > whole else []
    return parts


def kernel_call(
    low: Lowering, kernel: TiledKernel, part: Part, sources: list[Pointer], extras: list[Value],
    y: Value,
) -> Call:
    start = part.blocks[0].start
    others = [low.operand_pointer(value, start * value.pixels) for value in extras]
    return Call(kernel.text(), (*sources, *others, low.program.pointer(y, start * y.pixels)),
                y.batch)


def same_place(extras: list[Value], y: Value, x: Value) -> list[Value]:
    """Operands that the result may overwrite: of its shape, and not the layer's input."""
    return [v for v in extras if v.shape == y.shape and v.buffer != x.buffer]


def title(group: Group) -> str:
    kinds = " + ".join(node.op_type for node in group.nodes)
    return f"{kinds} -> {group.output}"
