"""Templates out of solutions: the signatures, docstrings and given code stay, the answers go.

Works on the text of the solution, by the line numbers of its syntax tree, so that a template
looks as its author wrote it. What goes and what comes::

    body of an exercise's symbol            the steps, and raise NotImplementedError(...)
    private helper that only those use      nothing
    import of a solution with a template    import of that template
    if __package__ in (None, ""): ...       a program that falls back to the solution
    if __name__ == "__main__": ...          nothing: the line above has run it
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from course.manifest import Exercise, Manifest, ManifestError, module_name

WIDTH = 100
MARK = "exercise "
PRISTINE = Path("course/pristine")
OWN = re.compile(r"(phase\d_|solutions|zoo|course)\b|phase\d_")
Symbol = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Edit:
    """Lines first..last (from 1, both included) replaced by others."""

    first: int
    last: int
    lines: tuple[str, ...]


def apply_edits(source: str, edits: Iterable[Edit]) -> str:
    """The text with its lines replaced; edits must not overlap."""
    lines = source.splitlines()
    for edit in sorted(edits, key=lambda e: -e.first):
        lines[edit.first - 1 : edit.last] = edit.lines
    return "\n".join(lines) + "\n"


def find_symbol(tree: ast.Module, symbol: str) -> Symbol | None:
    """The function, class or ``Class.method`` of that name."""
    body: Sequence[ast.stmt] = tree.body
    found: Symbol | None = None
    for part in symbol.split("."):
        found = next((node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)
                      and node.name == part), None)
        if found is None:
            return None
        body = found.body
    return found


def functions_of(node: Symbol) -> list[ast.FunctionDef]:
    """The function itself, or the methods of a class."""
    if isinstance(node, ast.FunctionDef):
        return [node]
    return [item for item in node.body if isinstance(item, ast.FunctionDef)]


def is_untouched(tree: ast.Module, exercise: Exercise, symbol: str) -> bool:
    """Whether a symbol still raises what its template raised."""
    node = find_symbol(tree, symbol)
    return node is not None and any(
        isinstance(part, ast.Constant) and isinstance(part.value, str)
        and part.value.startswith(f"{MARK}{exercise.id}:")
        for part in ast.walk(node)
    )


def make_template(source: str, exercises: Sequence[Exercise], manifest: Manifest,
                  module: str) -> str:
    """The template of a solution's text; without exercises, the answers in a template's place."""
    tree = ast.parse(source)
    edits = [*_import_edits(tree, manifest), *_program_edits(tree)]
    for exercise in exercises:
        for symbol in exercise.symbols:
            node = find_symbol(tree, symbol)
            if node is None:
                raise ManifestError(f"exercise {exercise.id}: {module} has no {symbol}")
            edits += [_hollow(function, exercise, symbol, source.splitlines())
                      for function in functions_of(node)]
    if exercises:
        edits += _left_out(tree, source, exercises)
        edits.append(_headed(tree, exercises, module))
    text = _own_imports_sorted(apply_edits(source, _outermost(edits)))
    return re.sub(r"\n{4,}", "\n\n\n", text).rstrip("\n") + "\n"


def _own_imports_sorted(text: str) -> str:
    """The imports of the course's own modules in one block, in order: their names have changed."""
    tree = ast.parse(text)
    lines = text.splitlines()
    own = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module
           and OWN.match(node.module)]
    if not own:
        return text
    blocks = sorted((node.module or "", "\n".join(lines[node.lineno - 1 : node.end_lineno]))
                    for node in own)
    first, last = own[0].lineno, own[-1].end_lineno or 0
    between = [line for n, line in enumerate(lines[first - 1 : last], first)
               if line.strip() and not any(o.lineno <= n <= (o.end_lineno or 0) for o in own)]
    if between:  # something else stands among them: better left as it is
        return text
    while lines[first - 2] == "" and lines[first - 3] == "":
        del lines[first - 3]
        first, last = first - 1, last - 1
    return "\n".join([*lines[: first - 1], *(block for _, block in blocks), *lines[last:]]) + "\n"


def _outermost(edits: list[Edit]) -> list[Edit]:
    """Without the edits that lie within another one."""
    return [e for e in edits if not any(
        o is not e and o.first <= e.first and e.last <= o.last
        and (o.first, o.last) != (e.first, e.last) for o in edits)]


def _body_start(function: ast.FunctionDef) -> ast.stmt | None:
    """The first statement after the docstring; None where there is only that."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    return body[0] if body else None


def _hollow(function: ast.FunctionDef, exercise: Exercise, symbol: str, source: list[str]) -> Edit:
    first = _body_start(function)
    indent = " " * (function.col_offset + 4)
    lines: list[str] = []
    for number, step in enumerate(_steps_of(exercise, symbol), 1):
        lines += textwrap.wrap(
            step, WIDTH, initial_indent=f"{indent}# {number}. ", subsequent_indent=f"{indent}#    "
        )
    if lines:
        lines.insert(0, f"{indent}# TODO {exercise.id} {exercise.title}")
    lines.append(f'{indent}raise NotImplementedError("{MARK}{exercise.id}: {symbol}")')
    assert function.end_lineno is not None, symbol
    if first is None:
        return Edit(function.end_lineno + 1, function.end_lineno, tuple(lines))
    start = first.lineno
    while source[start - 2].strip().startswith("#"):  # comments above it are the answer's, too
        start -= 1
    return Edit(start, function.end_lineno, tuple(lines))


def _steps_of(exercise: Exercise, symbol: str) -> list[str]:
    """The steps for one symbol: those that begin with its name; the others are the first one's."""
    names = {name.rpartition(".")[2]: name for name in exercise.symbols}
    found = []
    for step in exercise.steps:
        head, colon, text = step.partition(": ")
        owner = names.get(head) if colon else None
        if (owner or exercise.symbols[0]) == symbol:
            found.append(text if owner else step)
    return found


def _import_edits(tree: ast.Module, manifest: Manifest) -> list[Edit]:
    edits = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in manifest.modules:
            template = manifest.modules[node.module]
            indent = " " * node.col_offset
            names = [f"{n.name} as {n.asname}" if n.asname else n.name for n in node.names]
            line = f"{indent}from {template} import {', '.join(names)}"
            lines = [line] if len(line) <= WIDTH else [
                f"{indent}from {template} import (", *(f"{indent}    {n}," for n in names),
                f"{indent})",
            ]
            assert node.end_lineno is not None
            edits.append(Edit(node.lineno, node.end_lineno, tuple(lines)))
    return edits


def _program_edits(tree: ast.Module) -> list[Edit]:
    edits = []
    for node in tree.body:
        if not isinstance(node, ast.If):
            continue
        test = ast.unparse(node.test)
        assert node.end_lineno is not None
        if test == "__name__ == '__main__'":
            edits.append(Edit(node.lineno, node.end_lineno, ()))
        elif test == "__package__ in (None, '')":
            edits.append(Edit(node.lineno, node.end_lineno, (
                'if __name__ == "__main__":  # what is not done yet falls back to the solution',
                "    sys.path[0] = str(Path(__file__).resolve().parents[1])",
                "    from course.fallback import run_template",
                "",
                "    sys.exit(run_template(__file__))",
            )))
    return edits


def _left_out(tree: ast.Module, source: str, exercises: Sequence[Exercise]) -> list[Edit]:
    """Private helpers that nothing but the exercises' symbols uses, directly or not."""
    kept_by_wish = {name for exercise in exercises for name in exercise.keep}
    hollowed = {id(function) for exercise in exercises for symbol in exercise.symbols
                if (node := find_symbol(tree, symbol)) for function in functions_of(node)}
    helpers = {node.name: node for node in tree.body
               if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.startswith("_")
               and node.name not in kept_by_wish and id(node) not in hollowed}
    used: set[str] = set()
    waiting: list[ast.AST] = [n for n in tree.body
                              if getattr(n, "name", None) not in helpers]
    while waiting:
        for name in _names(waiting.pop(), hollowed):
            if name in helpers and name not in used:
                used.add(name)
                waiting.append(helpers[name])
    return [
        Edit(min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno or 0, ())
        for name, node in helpers.items() if name not in used
    ]


def _names(node: ast.AST, hollowed: set[int]) -> set[str]:
    """Names that are read in a node; of hollowed functions, only in their signatures."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Name):
            found.add(part.id)
        if isinstance(part, ast.FunctionDef) and id(part) in hollowed:
            waiting += [part.args, *part.decorator_list]
            if part.returns is not None:
                waiting.append(part.returns)
        else:
            waiting += ast.iter_child_nodes(part)
    return found


def _headed(tree: ast.Module, exercises: Sequence[Exercise], module: str) -> Edit:
    """The module's docstring with the list of what is the learner's part."""
    node = tree.body[0]
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        raise ManifestError(f"{module} has no docstring")
    assert node.end_lineno is not None
    text = str(node.value.value).rstrip()
    lines = [f'"""{text}', "", "Your part, to be checked by ``course check``:", ""]
    for exercise in exercises:
        names = ", ".join(exercise.symbols)
        lines += textwrap.wrap(f"{exercise.id} {exercise.title}: {names}", WIDTH - 4,
                               initial_indent="    ", subsequent_indent="        ")
    lines += ["", f"The idea, an example and the usual mistakes: guidelines.md#"
              f"{exercises[0].guide}", '"""']
    flat = [part for line in lines for part in line.split("\n")]
    return Edit(node.lineno, node.end_lineno, tuple(flat))


def replace_symbol(source: str, symbol: str, other: str) -> str:
    """``source`` with one symbol's text taken from ``other``.

    Raises ManifestError where either lacks it.
    """
    ours, theirs = (find_symbol(ast.parse(text), symbol) for text in (source, other))
    if ours is None or theirs is None:
        raise ManifestError(f"no {symbol} to put in the other's place")
    first, last = _extent(ours)
    start, end = _extent(theirs)
    return apply_edits(source, [Edit(first, last, tuple(other.splitlines()[start - 1 : end]))])


def symbol_text(source: str, symbol: str) -> str:
    """The lines of one symbol; "" where it is missing."""
    node = find_symbol(ast.parse(source), symbol)
    if node is None:
        return ""
    first, last = _extent(node)
    return "\n".join(source.splitlines()[first - 1 : last])


def _extent(node: Symbol) -> tuple[int, int]:
    assert node.end_lineno is not None
    return min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno


def generate(manifest: Manifest, template: Path, answers: bool = False) -> str:
    """The text of a template of the manifest, or the answers in its place.

    A copy without the reference keeps its untouched templates in ``course/pristine``.
    """
    solution = manifest.root / manifest.templates[template]
    kept = manifest.root / PRISTINE / template
    if not solution.exists() and kept.exists() and not answers:
        return kept.read_text("utf-8")
    if not solution.exists():
        raise ManifestError(f"{manifest.templates[template]} is not in this copy of the course")
    exercises = () if answers else manifest.of_template(template)
    return make_template(solution.read_text("utf-8"), exercises, manifest, module_name(template))
