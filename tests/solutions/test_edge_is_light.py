"""The edge path on a device: nothing heavy is imported, and a first result comes soon."""

import subprocess
import sys

HEAVY = ("torch", "torchvision", "tensorflow", "matplotlib", "pycocotools", "trackeval", "jinja2")


def test_importing_the_edge_path_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import solutions.phase4_production.video_analysis.edge_inference\n"
        "from solutions.phase4_production.video_analysis.model_pipeline import build_pipeline\n"
        "build_pipeline('zoo:street-small')\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
