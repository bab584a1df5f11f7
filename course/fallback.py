"""Templates as programs: what the learner has done is used, what is not falls back.

``run_template`` watches the imports of templated modules. A template's untouched symbols are
filled with the solution's; a solution's symbols that the learner has done are replaced by the
learner's. So the whole program, its given parts included, runs on the learner's work::

    solutions.x   f, g  <---- f (done) ------  template_x   f
                  |_________  g (untouched) --------------> g
"""

import ast
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from course.manifest import Exercise, Manifest, load_manifest, module_name
from course.template_source import is_untouched

ROOT = Path(__file__).parents[1]


class Link:
    """One template and its solution."""

    def __init__(self, manifest: Manifest, template: Path, solution: Path) -> None:
        self.template, self.solution = module_name(template), module_name(solution)
        tree = ast.parse((manifest.root / template).read_text("utf-8"))
        self.done: list[tuple[Exercise, str]] = []
        self.untouched: list[tuple[Exercise, str]] = []
        for exercise in manifest.of_template(template):
            for symbol in exercise.symbols:
                untouched = is_untouched(tree, exercise, symbol)
                (self.untouched if untouched else self.done).append((exercise, symbol))

    def join(self) -> None:
        """Exchange the symbols, once both modules are there."""
        theirs, ours = (sys.modules.get(name) for name in (self.template, self.solution))
        if not (_ready(theirs) and _ready(ours)):
            return
        for _, symbol in self.untouched:
            _put(theirs, symbol, _get(ours, symbol))
        for _, symbol in self.done:
            _put(ours, symbol, _get(theirs, symbol))


def _ready(module: ModuleType | None) -> bool:
    return module is not None and getattr(module, "__linked__", False)


def _get(module: Any, symbol: str) -> Any:
    for part in symbol.split("."):
        module = vars(module)[part]  # not getattr: properties and static methods as they are
    return module


def _put(module: Any, symbol: str, value: Any) -> None:
    owner, _, name = symbol.rpartition(".")
    setattr(_get(module, owner) if owner else module, name, value)


class LinkFinder(importlib.abc.MetaPathFinder):
    """Finds templated modules as usual and links them when they are loaded."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = {name: link for link in links for name in (link.template, link.solution)}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The usual spec, with a loader that links."""
        link = self.links.get(name)
        if link is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Linking(spec.loader, link)
        return spec


class _Linking(importlib.abc.Loader):
    def __init__(self, loader: Any, link: Link) -> None:
        self._loader, self._link = loader, link

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.__linked__ = True  # type: ignore[attr-defined]
        link = self._link
        other = link.solution if module.__name__ == link.template else link.template
        if importlib.machinery.PathFinder.find_spec(other.split(".")[0]) is not None:
            importlib.import_module(other)
        link.join()


def run_template(file: str) -> int:
    """Run a template's program; first say whose parts it runs on. The exit code."""
    from zoo.terminal import run_command  # noqa: F401  (fail early, with the repository's path)

    manifest = load_manifest(ROOT)
    template = Path(file).resolve().relative_to(ROOT)
    missing = [s for s in manifest.templates.values() if not (ROOT / s).exists()]
    if missing:
        print(f"error: {missing[0]} is not in this copy of the course: what is not done yet has "
              "nothing to fall back to", file=sys.stderr)
        return 2
    print(_link(manifest, template.parent), file=sys.stderr)
    main = importlib.import_module(module_name(template)).main
    return int(main())


def link_templates(phase: str) -> str:
    """Let a phase's solutions run on what the learner has done of it; what is to be said about it.

    Call it before the solutions are imported. Raises InferenceError in a copy of the course that
    has no solutions of that phase.
    """
    from zoo.errors import InferenceError

    if not (ROOT / "solutions" / phase).is_dir():
        raise InferenceError(
            f"solutions/{phase} is not in this copy of the course: what is not done yet has "
            "nothing to fall back to"
        )
    return _link(load_manifest(ROOT), Path(phase))


def _link(manifest: Manifest, phase: Path) -> str:
    links = [Link(manifest, t, s) for t, s in manifest.templates.items() if t.parent == phase]
    sys.meta_path.insert(0, LinkFinder(links))
    return _said(links)


def _said(links: Sequence[Link]) -> str:
    """Which exercises are the learner's and for which the solution stands in."""
    if not links:
        return "this phase has no exercises yet: everything runs on the solution"
    entries = {(exercise.id, exercise.title) for link in links for exercise, _ in link.done}
    open_ = {(exercise.id, exercise.title) for link in links for exercise, _ in link.untouched}
    yours = sorted(entries - open_, key=lambda entry: [int(n) for n in entry[0].split(".")])
    if not yours:
        return f"no part of this is yours yet: the solution stands in for all {len(open_)}"
    rest = f"; the solution stands in for {len(open_)} others" if open_ else ""
    return f"your parts: {', '.join(f'{name} {title}' for name, title in yours)}{rest}"
