"""Elementwise chains without a layer before them, and softmax."""

from math import prod

from solutions.phase2_optimization.c_backend.blocks import Blocks
from solutions.phase2_optimization.c_backend.c_text import indent
from solutions.phase2_optimization.c_backend.fusion import Group
from solutions.phase2_optimization.c_backend.lowering import Lowering
from solutions.phase2_optimization.c_backend.pointwise import Pointwise, applied, parameters
from solutions.phase2_optimization.c_backend.program import NAME, Call, Value
from solutions.phase2_optimization.onnx_rewrite import attribute
from zoo.errors import InferenceError


def elementwise(low: Lowering, group: Group) -> Value:
    """A chain over a tensor: blocked where its input is, or where values per channel join in."""
    shape = low.shape(group.output)
    per_channel = any(stage.form == "channel" for stage in group.chain)
    blocked = len(shape) == 4 and (per_channel or _is_blocked(low, group, shape))
    x = low.expanded(group.source, shape, blocked)
    extras = low.operands(group.chain, shape, blocked)
    y = low.new(group.output, shape, blocked)
    whole = [low.program.whole(value) for value in (x, *extras, y)]
    if per_channel:
        calls = _by_blocks(low, group, x, extras, y)
    else:
        calls = [Call(flat_kernel(group.chain, y.floats(low.lanes), low.lanes), tuple(whole))]
    title = " + ".join(node.op_type for node in group.nodes)
    alike = [value for value in (x, *extras) if value.shape == shape]
    low.program.add(f"{title} -> {group.output}", calls, [x, *extras], y, alike)
    return y


def _is_blocked(low: Lowering, group: Group, shape: tuple[int, ...]) -> bool:
    tensors = [s.source for s in group.chain if s.form == "tensor"]
    return any(low.is_blocked(name) and low.shape(name) == shape
               for name in (group.source, *tensors))


def flat_kernel(chain: tuple[Pointwise, ...], floats: int, lanes: int) -> str:
    """A chain over all floats of tensors that lie alike; the last vector may be a part of one."""
    names = ["x", *parameters(chain)]
    head = ", ".join([*(f"const float *{name}" for name in names), "float *y"])
    whole, rest = floats // lanes * lanes, floats % lanes
    lines: list[str] = []
    if whole:
        lines += [f"for (long i = 0; i < {whole}; i += {lanes}) {{",
                  f"    v{lanes} v = load{lanes}(x + i);",
                  *indent(applied(chain, "v", "i", lanes)),
                  f"    store{lanes}(y + i, v);", "}"]
    if rest:
        lines += [f"float part[{len(names)}][{lanes}] = {{{{0}}}};",
                  *(f"memcpy(part[{i}], {name} + {whole}, {4 * rest});"
                    for i, name in enumerate(names)),
                  *(f"{name} = part[{i}];" for i, name in enumerate(names)),
                  f"v{lanes} v = load{lanes}(x);",
                  *applied(chain, "v", "0", lanes),
                  f"memcpy(y + {whole}, &v, {4 * rest});"]
    return "\n".join([f"static void {NAME}({head})", "{", *indent(lines), "}"])


def _by_blocks(
    low: Lowering, group: Group, x: Value, extras: list[Value], y: Value
) -> list[Call]:
    calls = []
    for block in Blocks(y.shape[1], low.lanes).parts:
        text = block_kernel(group.chain, prod(y.shape[2:]), block.width)
        start = block.start * y.pixels
        pointers = [low.program.pointer(x, start)]
        for value in extras:
            at = block.start * value.pixels
            pointers.append(low.operand_pointer(value, at))
        calls.append(Call(text, (*pointers, low.program.pointer(y, start)), y.batch))
    return calls


def block_kernel(chain: tuple[Pointwise, ...], pixels: int, width: int) -> str:
    """A chain over one block of channels, with values per channel."""
    names = ["x", *parameters(chain)]
    head = ", ".join([*(f"const float *{name}" for name in names), "float *y"])
    lines = [f"for (long i = 0; i < {pixels * width}; i += {width}) {{",
             f"    v{width} v = load{width}(x + i);",
             *indent(applied(chain, "v", "i", width)),
             f"    store{width}(y + i, v);", "}"]
    return "\n".join([f"static void {NAME}({head})", "{", *indent(lines), "}"])


SOFTMAX = """static void {name}(const float *x, float *y)
{{
    for (int o = 0; o < {outer}; o++)
        for (int i = 0; i < {inner}; i++) {{
            const long at = o * {block}L + i;
            float top = x[at], sum = 0.0f;
            for (int k = 1; k < {count}; k++)
                top = x[at + k * {inner}] > top ? x[at + k * {inner}] : top;
            for (int k = 0; k < {count}; k++)
                sum += y[at + k * {inner}] = expf(x[at + k * {inner}] - top);
            for (int k = 0; k < {count}; k++)
                y[at + k * {inner}] /= sum;
        }}
}}"""


def softmax(low: Lowering, group: Group) -> Value:
    """Softmax over one axis (over all from an axis on, before opset 13)."""
    node = group.node
    x = low.plain(node.input[0])
    old = low.graph.opset < 13
    axis = attribute(node, "axis", 1 if old else -1) % len(x.shape)
    end = len(x.shape) if old else axis + 1
    count, inner = prod(x.shape[axis:end]), prod(x.shape[end:])
    text = SOFTMAX.format(name=NAME, outer=prod(x.shape[:axis]), inner=inner, count=count,
                          block=count * inner)
    y = low.new(group.output, x.shape, False)
    low.program.add(f"Softmax -> {group.output}",
                    [Call(text, (low.program.whole(x), low.program.whole(y)))], [x], y, [x])
    return y


MEAN = """static void {name}(const float *x, float *y)
{{
    for (int o = 0; o < {outer}; o++)
        for (int i = 0; i < {inner}; i++) {{
            double sum = 0.0;
            for (int k = 0; k < {count}; k++)
                sum += x[(o * {count}L + k) * {inner} + i];
            y[o * {inner} + i] = (float)(sum * {factor!r});
        }}
}}"""


def reduce_sum(low: Lowering, group: Group) -> Value:
    """ReduceMean or ReduceSum over neighbouring axes."""
    node = group.node
    x = low.plain(node.input[0])
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = low.constant(node.input[1]).tolist()
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        return low.value(node.input[0])
    found = sorted(a % len(x.shape) for a in axes) if axes else list(range(len(x.shape)))
    if found != list(range(found[0], found[-1] + 1)):
        raise InferenceError(f"{node.name or node.op_type}: the C back end sums neighbouring "
                             f"axes only, not {found}")
    count = prod(x.shape[found[0]:found[-1] + 1])
    factor = 1.0 / count if node.op_type == "ReduceMean" else 1.0
    text = MEAN.format(name=NAME, outer=prod(x.shape[:found[0]]), count=count,
                       inner=prod(x.shape[found[-1] + 1:]), factor=factor)
    y = low.new(group.output, low.shape(node.output[0]), False)
    low.program.add(f"{node.op_type} -> {group.output}",
                    [Call(text, (low.program.whole(x), low.program.whole(y)))], [x], y)
    return y
