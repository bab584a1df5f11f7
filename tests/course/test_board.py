"""The board as a learner sees it."""

import subprocess
import sys


def test_the_board_lists_the_four_phases() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "course"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for word in ("Basics", "Optimization", "Serving", "Production", "Next: "):
        assert word in done.stdout
