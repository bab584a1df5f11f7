"""Checks of 1.3 and 1.4: from pixels to a network's input."""

import numpy as np

from course.difference import Tolerance
from course.scenario import attempt, scenario


def picture(rng, channels=3):
    """A smooth picture of any odd size, so that interpolation matters little and place much."""
    height, width = (int(n) for n in rng.integers(7, 90, 2))
    grid = np.mgrid[:height, :width].astype(np.float64)
    waves = [128 + 100 * np.sin(rng.uniform(0.02, 0.2) * grid[0] + rng.uniform(0.02, 0.2) * grid[1])
             for _ in range(channels)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def placed(boxed):
    """A letterboxed picture and its transform as plain data."""
    t = boxed.transform
    return {"image": boxed.image, "scale": [float(t.scale_x), float(t.scale_y)],
            "padding": [float(t.left), float(t.top)], "size": [int(t.width), int(t.height)]}


@scenario("1.3", seeds=6)
def odd_shapes(impl, rng):
    """Pictures of odd shapes in odd networks, at the top left: pixels, scales, padding."""
    image = picture(rng)
    width, height = (int(n) for n in rng.integers(9, 130, 2))
    return placed(impl.letterbox(image, width, height, pad=int(rng.integers(0, 256))))


@scenario("1.3", seeds=6)
def centred(impl, rng):
    """The same in the middle: an odd free pixel goes behind the picture."""
    image = picture(rng)
    width, height = (int(n) for n in rng.integers(9, 130, 2))
    return placed(impl.letterbox(image, width, height, "center"))


@scenario("1.3", seeds=2)
def unusual_pictures(impl, rng):
    """One channel, a slice of a larger picture, a line of one pixel, and no picture at all."""
    large = picture(rng)
    cut = large[::2, ::-1]
    line = np.full((1, int(rng.integers(50, 300)), 3), 200, np.uint8)
    empty = np.zeros((0, 5, 3), np.uint8)
    return {"grey": placed(impl.letterbox(picture(rng, 1), 40, 24)),
            "sliced": placed(impl.letterbox(cut, 32, 48, "center")),
            "column": placed(impl.letterbox(line.transpose(1, 0, 2), 32, 40, "center")),
            "with alpha": placed(impl.letterbox(picture(rng, 4), 30, 50)),
            "line": placed(impl.letterbox(line, 32, 32)),
            "empty": attempt(lambda: placed(impl.letterbox(empty, 32, 32)))}


@scenario("1.3", seeds=4, relative=1e-5, absolute=1e-4)
def boxes_there_and_back(impl, rng):
    """Boxes to the network and back, some of them beyond the picture's edges, none, and many."""
    sizes = [int(n) for n in rng.integers(30, 900, 2)]
    scales = rng.uniform(0.2, 2.0, 2).tolist()
    transform = impl.LetterboxTransform(*scales, float(rng.integers(0, 40)),
                                        float(rng.integers(0, 40)), *sizes)
    boxes = rng.uniform(-50, 900, (int(rng.integers(1, 9)), 4)).astype(np.float32)
    none = np.zeros((0, 4), np.float32)
    return {"there": transform.to_network(boxes), "back": transform.to_image(boxes),
            "none": transform.to_image(none), "none there": transform.to_network(none)}


@scenario("1.4", seeds=4, tolerances={"coloured": Tolerance(1e-4, 1e-4)}, relative=1e-4,
          absolute=1e-4)
def means_and_deviations(impl, rng):
    """Bytes and floats, each channel with its own mean and deviation, in both ranges."""
    image = picture(rng)
    mean, std = rng.uniform(0.2, 0.6, 3).tolist(), rng.uniform(0.1, 0.4, 3).tolist()
    floats = rng.uniform(0, 255, (5, 4, 3))
    return {"coloured": impl.normalise(image, mean, std, 1.0),
            "bytes as they are": impl.normalise(image, [0.0], [1.0]),
            "grey": impl.normalise(image[..., :1], [0.4], [0.2], 1.0),
            "floats": impl.normalise(floats, [100.0, 110.0, 120.0], [50.0, 60.0, 70.0], 255.0),
            "mean alone": impl.normalise(image, [10.0, 20.0, 30.0], [1.0, 1.0, 1.0]),
            "deviation alone": impl.normalise(image, [0.0], [2.0]),
            "reversed": impl.normalise(image[..., ::-1], mean, std, 1.0)}


@scenario("1.4", seeds=3)
def layout(impl, rng):
    """Channels first, a batch of one, contiguous float32, whatever the input's memory is like."""
    rows, columns = (int(n) for n in rng.integers(1, 12, 2))
    found = {}
    for name, pixels in (
        ("floats", rng.normal(size=(rows, columns, 3)).astype(np.float32)),
        ("bytes", rng.integers(0, 256, (rows, columns, 3)).astype(np.uint8)),
        ("sliced", rng.normal(size=(2 * rows, columns, 4)).astype(np.float32)[::2, :, :3]),
        ("grey", rng.normal(size=(rows, columns, 1))),
    ):
        batch = impl.to_nchw(pixels)
        found[name] = {"batch": batch, "contiguous": bool(batch.flags.c_contiguous)}
    return found
