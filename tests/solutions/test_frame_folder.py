"""A folder of images as a video: a person's order, one size, and what is unreadable is named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from moving_square import square_pipeline

from solutions.phase4_production.video_analysis.frame_folder import FrameFolder, natural_key
from solutions.phase4_production.video_analysis.video_run import run_video
from zoo.errors import InferenceError


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (64, 48)) -> Path:
    """Grey images, each ten levels lighter than the one before."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((size[1], size[0], 3), 10 * number, np.uint8))
    return folder


def greys(folder: Path) -> list[int]:
    return [round(float(f.image.mean()) / 10) for f in FrameFolder(folder).frames()]


def test_numbers_in_names_count_as_numbers(tmp_path: Path) -> None:
    names = ["f1.png", "f2.png", "f9.png", "f10.png", "f010.PNG", "f11a.png", "f100.png", "g1.png"]
    assert greys(write_images(tmp_path / "a", names)) == [0, 1, 2, 4, 3, 5, 6, 7]


def test_natural_order_holds_with_any_names() -> None:
    names = ["10", "9b", "9a", "a", "²", "", "x1y2", "x1y10", "01", "1"]
    assert sorted(names, key=natural_key) == [
        "", "01", "1", "9a", "9b", "10", "a", "x1y2", "x1y10", "²"
    ]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm"])
def test_usual_image_formats_are_read(tmp_path: Path, suffix: str) -> None:
    colour = (200, 30, 60)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), np.full((40, 60, 3), colour, np.uint8))
    frame = next(iter(FrameFolder(tmp_path).frames()))
    assert frame.image.shape == (40, 60, 3)
    assert np.abs(frame.image.mean(axis=(0, 1)) - colour).max() <= 3


def test_an_unreadable_image_is_named_and_skipped(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", [f"{i}.jpg" for i in range(6)])
    (folder / "2.jpg").write_bytes(b"no image")
    (folder / "4.jpg").write_bytes(b"")
    reader = FrameFolder(folder)
    frames = list(reader.frames())
    assert [f.index for f in frames] == [0, 1, 3, 5]  # numbers and times stay true
    assert [f.time for f in frames] == [0, 1 / 30, 3 / 30, 5 / 30]
    assert reader.broken == "2 of 6 images could not be read: 2.jpg, 4.jpg"
    assert reader.expected_frames == 6
    record = run_video(square_pipeline(), FrameFolder(folder))
    assert record.partial == reader.broken and record.analysed == 4


def test_the_first_image_may_be_the_unreadable_one(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", ["1.png", "2.png"])
    (folder / "0.png").write_bytes(b"no image")
    reader = FrameFolder(folder)
    assert [f.index for f in reader.frames()] == [1, 2]
    assert reader.broken == "1 of 3 images could not be read: 0.png"


def test_other_sizes_are_brought_to_the_first_one(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", ["1.png"])
    write_images(folder, ["2.png", "3.jpg"], (33, 77))
    cv2.imwrite(str(folder / "4.png"), np.full((20, 20), 70, np.uint8))  # grey
    frames = list(FrameFolder(folder).frames())
    assert [f.image.shape for f in frames] == [(48, 64, 3)] * 4
    assert abs(frames[-1].image.mean() - 70) < 2


def test_what_is_no_image_is_left_aside(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", ["1.png", "2.png"])
    (folder / "coco.json").write_text("{}")
    (folder / "._1.png").write_bytes(b"a resource fork")
    (folder / "sub").mkdir()
    reader = FrameFolder(folder)
    assert len(list(reader.frames())) == 2 and reader.broken is None
    assert len(list(FrameFolder(folder).frames(1))) == 1


def test_a_sequence_names_its_rate(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "img1", ["1.png", "2.png"])
    assert FrameFolder(folder).fps == 30
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=14\n")
    reader = FrameFolder(folder)
    assert reader.fps == 14
    assert [f.time for f in reader.frames()] == [0, 1 / 14]
    (folder / "seqinfo.ini").write_text("rubbish")
    assert FrameFolder(folder).fps == 14


@pytest.mark.parametrize("names, reason", [
    ([], "no images in this folder"), (["a.png", "b.jpg"], "none of its 2 images can be read"),
])
def test_a_folder_without_images_is_an_error(
    tmp_path: Path, names: list[str], reason: str
) -> None:
    for name in names:
        (tmp_path / name).write_text("no image")
    with pytest.raises(InferenceError, match=reason):
        FrameFolder(tmp_path)


def test_a_photo_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40] = 200
    content = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    marker = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif  # orientation 6
    (tmp_path / "a.jpg").write_bytes(content[:2] + marker + content[2:])
    expected = cv2.imread(str(tmp_path / "a.jpg"))
    found = next(iter(FrameFolder(tmp_path).frames())).image
    assert found.shape == expected.shape == (80, 40, 3)
    assert np.abs(found.astype(int) - expected).max() <= 3
