"""The edge program with a public detector on real videos (`ZOO_MIRROR` or the cache)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo import registry

ROOT = Path(__file__).parents[2]
PERSON, CAR = (registry.find("yolox-nano").labels.index(n) + 1 for n in ("person", "car"))


def tracks_of(video: str, folder: Path) -> NDArray[np.float64]:
    """The rows of tracks.txt after a run with yolox-nano."""
    for name in (video, "yolox-nano"):
        if registry.available(registry.find(name)) is None:
            pytest.skip(f"{name} is not here: set ZOO_MIRROR, or python -m zoo get {name}")
    done = subprocess.run(
        [sys.executable, "-m", "solutions.phase4_production.video_analysis.edge_inference",
         "--video", video, "--detector", "yolox-nano", "--no-annotate", "--output", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["partial"] is False and "map50" not in metrics
    return np.loadtxt(folder / "tracks.txt", delimiter=",")


def test_six_people_pass_one_by_one(tmp_path: Path) -> None:
    rows = tracks_of("people-video", tmp_path)
    people = rows[rows[:, 7] == PERSON]
    assert len(np.unique(people[:, 1])) == 6
    frames, counts = np.unique(people[:, 0], return_counts=True)
    assert counts.max() == 1, frames[counts > 1]


def test_two_cars_on_the_highway_keep_their_identities(tmp_path: Path) -> None:
    rows = tracks_of("highway-video", tmp_path)
    cars = rows[rows[:, 7] == CAR]
    identities, counts = np.unique(cars[:, 1], return_counts=True)
    assert len(identities) == 2 and counts.min() >= 30, dict(zip(identities, counts, strict=True))
    left, right = (cars[cars[:, 1] == i] for i in identities)
    shared = np.intersect1d(left[:, 0], right[:, 0])
    order = left[np.isin(left[:, 0], shared), 2] < right[np.isin(right[:, 0], shared), 2]
    assert order.all() or not order.any()  # they never change sides
