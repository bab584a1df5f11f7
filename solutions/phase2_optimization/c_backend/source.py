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
    outside = {"weights", *program.inputs, *(name for name, _ in program.outputs)}
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
    text = "\n\n".join([preamble(program.lanes), *kernels, run]) + "\n"
    return Source(text, plan)


def _slug(stage: Stage) -> str:
    """A kernel is named after the operator that uses it first."""
    return re.sub(r"\W", "", stage.title.split()[0]).lower()


def _places(program: Program, plan: MemoryPlan) -> dict[str, tuple[str, int]]:
    """Each buffer's base pointer in C and its start, in floats."""
    found = {"weights": ("weights", 0)}
    found |= {name: ("arena", plan.offset(name) // FLOAT) for name in plan.buffer_of}
    found |= {name: (f"inputs[{i}]", 0) for i, name in enumerate(program.inputs)}
    found |= {name: (f"outputs[{i}]", 0) for i, (name, _) in enumerate(program.outputs)}
    return found


def _stage(
    stage: Stage, names: Mapping[str, str], places: Mapping[str, tuple[str, int]]
) -> list[str]:
    lines = [f"/* {stage.title.replace('*/', '')} */"]
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
