"""Small faults in a right answer, one at a time: how well do the checks see?

Each mutant changes one place of one function's syntax tree: a comparison, an operator, a constant,
an index, an axis, two arguments exchanged, a statement left out.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from course.manifest import Exercise
from course.template_source import find_symbol, functions_of

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """One fault: where, what, and the whole text with it."""

    exercise: str
    symbol: str
    kind: str
    change: str  # old -> new, as source
    source: str

    @property
    def key(self) -> str:
        """A name that stays while the code does."""
        return f"{self.exercise} {self.symbol}: {self.change}"


def mutants(source: str, exercise: Exercise, template: str = "") -> Iterator[Mutant]:
    """All mutants of an exercise's functions in a text, each a text of its own.

    Helpers that the ``template`` leaves out belong to the answer.
    """
    tree = ast.parse(source)
    seen: set[str] = set()
    given = {n.name for n in ast.parse(template).body if isinstance(n, ast.FunctionDef)}
    helpers = [n.name for n in tree.body if template and isinstance(n, ast.FunctionDef)
               and n.name not in given and _used_by(tree, n.name, exercise)]
    for symbol in (*exercise.symbols, *helpers):
        node = find_symbol(tree, symbol)
        assert node is not None, symbol
        for function in functions_of(node):
            for place in list(ast.walk(function)):
                if place is function or _typing(place, function):
                    continue
                for kind, old, new in _changes(place):
                    yield from _applied(tree, exercise.id, symbol, kind, place, old, new, seen)


def _used_by(tree: ast.Module, helper: str, exercise: Exercise) -> bool:
    """Whether one of the exercise's own functions names the helper."""
    nodes = [find_symbol(tree, symbol) for symbol in exercise.symbols]
    return any(isinstance(part, ast.Name) and part.id == helper
               for node in nodes if node is not None for part in ast.walk(node))


Change = tuple[str, ast.AST, ast.AST | None]


def _changes(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for number, op in enumerate(node.ops):
            for other in COMPARISONS.get(type(op), ()):
                changed = copy.deepcopy(node)
                changed.ops[number] = other()
                yield "comparison", node, changed
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        changed_op = copy.deepcopy(node)
        changed_op.op = OPERATORS[type(node.op)]()
        yield "arithmetic", node, changed_op
    elif isinstance(node, ast.BoolOp):
        turned = copy.deepcopy(node)
        turned.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield "logic", node, turned
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield "sign", node, node.operand
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call) and len(node.args) >= 2:
        swapped = copy.deepcopy(node)
        swapped.args[0], swapped.args[1] = swapped.args[1], swapped.args[0]
        if not any(isinstance(a, ast.Starred) for a in node.args):
            yield "swapped arguments", node, swapped
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.If | ast.For) or (
            isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)):
        yield "missing statement", node, ast.Pass()


def _constants(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", node, ast.Constant(not value)
    elif isinstance(value, int):
        yield "index or constant", node, ast.Constant(value + 1)
        yield "index or constant", node, ast.Constant(value - 1)
    elif isinstance(value, float) and value:
        yield "constant", node, ast.Constant(value * 2)


def _typing(place: ast.AST, function: ast.FunctionDef) -> bool:
    """Whether a node belongs to annotations, defaults or messages, which no check looks at."""
    outside: list[ast.AST | None] = [function.args, function.returns, *function.decorator_list]
    for part in ast.walk(function):
        if isinstance(part, ast.AnnAssign):
            outside.append(part.annotation)
        if isinstance(part, ast.Raise | ast.JoinedStr):
            outside.append(part)
    return any(place is inner for part in outside if part is not None for inner in ast.walk(part))


def _applied(tree: ast.Module, exercise: str, symbol: str, kind: str, place: ast.AST,
             old: ast.AST, new: ast.AST | None, seen: set[str]) -> Iterator[Mutant]:
    before = ast.unparse(old)
    after = "nothing" if isinstance(new, ast.Pass) else ast.unparse(new) if new else "nothing"
    changed = ast.unparse(ast.fix_missing_locations(_Replace(place, new).visit(_twin(tree, place))))
    if changed in seen:
        return
    seen.add(changed)
    where = f"line {getattr(place, 'lineno', 0) - getattr(find_symbol(tree, symbol), 'lineno', 0)}"
    yield Mutant(exercise, symbol, kind,
                 f"{where}: {before.splitlines()[0][:70]} -> {after.splitlines()[0][:70]}", changed)


def _twin(tree: ast.Module, place: ast.AST) -> ast.Module:
    """A copy of the tree in which the place is still the same object."""
    return copy.deepcopy(tree, {id(place): place})


class _Replace(ast.NodeTransformer):
    def __init__(self, place: ast.AST, new: ast.AST | None) -> None:
        self.place, self.new = place, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.place:
            return self.new if self.new is not None else ast.Pass()
        return super().visit(node)  # type: ignore[no-any-return]
