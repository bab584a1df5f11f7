"""The C file of a program: the vector functions, each kernel once, and ``run``, which calls them.

``run`` takes four pointers: the constants, the arena, the inputs and the outputs. Where in the
arena each buffer lies was planned beforehand, so the file allocates nothing.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from solutions.phase2_optimization.c_backend.preamble import preamble
from solutions.phase2_optimization.c_backend.program import (
    FLOAT,
    NAME,
    Call,
    Pointer,
    Program,
    Stage,
)
from solutions.phase2_optimization.memory_plan import MemoryPlan, Step, plan_steps

ABOUT = """\
/* Generated from a network: float32, for fixed shapes, without a state of its own.
 *
 * run(weights, arena, inputs, outputs)
 *   weights   {weights} floats: the constants, from the file that was written beside this one
 *   arena     {arena} floats of scratch memory, their content does not matter
{tensors}
 */
"""
RUN = ("void run(const float *weights, float *arena, const float *const *inputs, "
       "float *const *outputs)")


class Source(NamedTuple):
    """The generated file and the memory that it needs."""

    text: str
    plan: MemoryPlan


def arena_plan(program: Program) -> MemoryPlan:
    """Where the program's buffers lie, in bytes; the caller's own are left out."""
    steps = [
        Step(stage.reads, stage.writes, {}, {stage.writes[0]: stage.overwrites})
        for stage in program.stages
    ]
    sizes = {name: FLOAT * floats for name, floats in program.sizes.items()}
    outside = {"weights", *(name for name, _ in [*program.inputs, *program.outputs])}
    return plan_steps(steps, sizes, [], outside)


def c_source(program: Program) -> Source:
    """Write the program as one C file."""
    plan = arena_plan(program)
    names: dict[str, str] = {}
    for stage in program.stages:
        for call in stage.calls:
            names.setdefault(call.kernel, f"{_slug(stage)}_{len(names)}")
    kernels = [text.replace(NAME, name) for text, name in names.items()]
    places = _places(program, plan)
    body = [line for stage in program.stages for line in _stage(stage, names, places)]
    run = "\n".join([RUN, "{", *("    " + line for line in body), "}"])
    text = "\n\n".join([_about(program, plan) + preamble(program.lanes), *kernels, run]) + "\n"
    return Source(text, plan)


def _about(program: Program, plan: MemoryPlan) -> str:
    """The comment at the top: what a C program needs to know to call the network."""
    tensors = [
        f" *   {kind}[{place}]  {_comment(name)}, {' x '.join(map(str, shape)) or 'one number'}"
        for kind, found in (("inputs", program.inputs), ("outputs", program.outputs))
        for place, (name, shape) in enumerate(found)
    ]
    return ABOUT.format(weights=program.weight_floats, arena=plan.arena.size // FLOAT,
                        tensors="\n".join(tensors))


def _comment(text: str) -> str:
    """Any text as a part of a C comment."""
    return text.replace("*/", "").replace("\n", " ")


def _slug(stage: Stage) -> str:
    """A kernel is named after the operator that uses it first."""
    return re.sub(r"\W", "", stage.title.split()[0]).lower()


def _places(program: Program, plan: MemoryPlan) -> dict[str, tuple[str, int]]:
    """Each buffer's base pointer in C and its start, in floats."""
    found = {"weights": ("weights", 0)}
    found |= {name: ("arena", plan.offset(name) // FLOAT) for name in plan.buffer_of}
    found |= {name: (f"inputs[{i}]", 0) for i, (name, _) in enumerate(program.inputs)}
    found |= {name: (f"outputs[{i}]", 0) for i, (name, _) in enumerate(program.outputs)}
    return found


def _stage(
    stage: Stage, names: Mapping[str, str], places: Mapping[str, tuple[str, int]]
) -> list[str]:
    lines = [f"/* {_comment(stage.title)} */"]
    for call in stage.calls:
        arguments = ", ".join(_argument(p, call, places) for p in call.arguments)
        if call.batch > 1:
            lines.append(f"for (int n = 0; n < {call.batch}; n++)")
        indent = "    " if call.batch > 1 else ""
        lines.append(f"{indent}{names[call.kernel]}({arguments});")
    return lines


def _argument(pointer: Pointer, call: Call, places: Mapping[str, tuple[str, int]]) -> str:
    base, start = places[pointer.buffer]
    offset = start + pointer.offset
    text = f"{base} + {offset}" if offset else base
    return f"{text} + n * {pointer.stride}L" if call.batch > 1 and pointer.stride else text
