"""One page from all results: ``python -m benchmarks report``."""

import base64
import json
from pathlib import Path
from typing import Any

from zoo.errors import InferenceError, MissingExtraError


def write_page(folder: Path) -> Path:
    """Write ``report.html`` from every ``SUITE.json`` in the folder.

    Raises InferenceError where there are none.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2", "bench") from error
    results = [_load(path) for path in sorted(folder.glob("*.json"))]
    results = [result for result in results if "suite" in result]
    if not results:
        raise InferenceError(f"no results in {folder}: run python -m benchmarks SUITE first")
    for result in results:
        plot = folder / f"{result['suite']}.png"
        coded = base64.b64encode(plot.read_bytes()).decode() if plot.is_file() else ""
        result["plot"] = f"data:image/png;base64,{coded}" if coded else ""
        result["columns"] = list(result["rows"][0]) if result["rows"] else []
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["figure"] = figure
    template = environment.from_string(Path(__file__).with_name("page.html.j2").read_text())
    page = folder / "report.html"
    page.write_text(template.render(results=results))
    return page


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InferenceError(f"{path} is not JSON ({error}): run its suite again") from error
    return content if isinstance(content, dict) else {}


def figure(value: Any) -> str:
    """A table cell as text."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
