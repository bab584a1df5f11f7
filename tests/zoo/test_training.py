"""The training code: data, assignment, losses, export. Learning itself is checked by the scores."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou as box_iou_of_pairs
from torchvision.ops import complete_box_iou_loss

from solutions.phase1_basics.preprocessing import letterbox as inference_letterbox
from zoo import digits
from zoo.street import Street, StreetConfig
from zoo.training import street_data
from zoo.training.detector_loss import (
    Targets,
    assign,
    box_iou,
    candidates,
    ciou_loss,
    detector_loss,
    gather_targets,
)
from zoo.training.detector_net import (
    SIZES,
    ExportedDetector,
    StreetDetector,
    cells,
    count_macs,
    decode_boxes,
)
from zoo.training.export import fold_norms, scale_input
from zoo.training.train_detector import Average, zoom

WIDTH, HEIGHT = street_data.WIDTH, street_data.HEIGHT


@pytest.mark.parametrize(
    ("name", "millions"), [("street-small", 15), ("street-middle", 45), ("street-large", 170)]
)
def test_the_sizes_are_what_they_are_called(name, millions) -> None:
    net = StreetDetector(SIZES[name])
    macs = count_macs(net, torch.zeros(1, 3, HEIGHT, WIDTH)) / 1e6
    assert macs == pytest.approx(millions, rel=0.1)
    count = sum((WIDTH // s) * (HEIGHT // s) for s in net.strides)
    assert net.eval()(torch.zeros(2, 3, HEIGHT, WIDTH)).shape == (2, count, 10)


def test_macs_of_one_convolution_by_hand() -> None:
    layer = torch.nn.Conv2d(3, 8, 3, 2, 1)
    assert count_macs(layer, torch.zeros(1, 3, 20, 40)) == 10 * 20 * 8 * 3 * 9
    assert count_macs(torch.nn.Linear(7, 5), torch.zeros(1, 7)) == 35


def test_training_sees_what_inference_sees() -> None:
    image, _ = Street(StreetConfig(seed=1, frames=1)).frame(0)
    ours, scale = street_data.letterbox(image)
    boxed = inference_letterbox(image, WIDTH, HEIGHT)
    np.testing.assert_array_equal(ours, boxed.image)
    assert boxed.transform.scale_x == pytest.approx(scale)


def test_rendered_data_reads_back(tmp_path) -> None:
    data = street_data.render("train", 50, scenes=2, frames=2, difficulty=0.5, workers=1)
    data.save(tmp_path)
    again = street_data.StreetData.load(tmp_path)
    assert again.images.shape == (4, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(again.boxes, data.boxes)
    present = again.boxes[..., 0] >= 0
    assert present.any()
    boxes = again.boxes[present]
    assert np.all(boxes[:, 3] > boxes[:, 1]) and boxes[:, 3].max() <= WIDTH
    assert len(again.digits) == len(again.digit_labels) == len(again.digit_heights)


def test_zooming_moves_boxes_with_the_pixels() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[60:100, 100:180] = 255
    rows = np.full((3, 6), -1, np.float32)
    rows[0] = (0, 100, 60, 180, 100, 1)
    for seed in range(8):
        moved, boxes = zoom(image, rows, np.random.default_rng(seed))
        bright = moved.min(axis=2) > 200
        ys, xs = np.nonzero(bright)
        if boxes[0, 0] < 0 or len(xs) == 0:
            continue
        seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(boxes[0, 1:5], seen, atol=2.0)
        assert np.all(boxes[1:, 0] == -1)


def random_boxes(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    low = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([low, low + 5 + torch.rand(count, 2, generator=generator) * 60], dim=1)


def test_overlaps_equal_torchvision() -> None:
    a, b = random_boxes(40), random_boxes(80)[40:]
    expected = complete_box_iou_loss(a, b)
    torch.testing.assert_close(ciou_loss(a, b), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(box_iou(a, a), torch.ones(40))
    torch.testing.assert_close(box_iou(a, b), box_iou_of_pairs(a, b).diagonal())


def truth(*rows: tuple[float, ...]) -> torch.Tensor:
    padded = torch.full((1, 8, 6), -1.0)
    for i, row in enumerate(rows):
        padded[0, i] = torch.tensor(row)
    return padded


def test_candidates_lie_at_the_object() -> None:
    strides = (4, 8, 16, 32)
    grid = cells(strides, WIDTH, HEIGHT)
    targets = Targets(
        torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long),
        torch.tensor([[50.0, 60.0, 56.0, 72.0], [100.0, 40.0, 240.0, 120.0]]),
        torch.ones(2, dtype=torch.bool),
    )  # fmt: skip
    near, valid = candidates(targets, strides, WIDTH, HEIGHT)
    for row in range(2):
        chosen = grid[near[row][valid[row]]]
        assert len(chosen) > 0
        centre = (chosen[:, :2] + 0.5) * chosen[:, 2:]
        box = targets.box[row]
        slack = 0.75 * chosen[:, 2]
        middle = (box[:2] + box[2:]) / 2
        half = torch.maximum((box[2:] - box[:2]) / 2, slack[:, None])
        assert torch.all((centre - middle).abs() <= half + 1e-4)
        assert int((chosen[:, 2] == (4 if row == 0 else 32)).sum()) > 0


def test_a_cell_answers_for_one_object_only() -> None:
    strides = (8, 16, 32)
    grid = cells(strides, WIDTH, HEIGHT)
    rows = truth((0, 40, 40, 90, 80, 1), (1, 44, 42, 92, 82, 1), (2, 200, 100, 216, 124, 1))
    torch.manual_seed(0)
    raw = torch.randn(1, len(grid), 10) * 0.2
    targets = gather_targets(rows)
    found = assign(raw, decode_boxes(raw, grid), targets, strides, WIDTH, HEIGHT)
    assert len(found.cell.unique()) == len(found.cell)
    assert set(found.target.tolist()) == {0, 1, 2}
    assert torch.all((found.quality > 0) & (found.quality <= 1))


def perfect(rows: torch.Tensor, net: StreetDetector, grid: torch.Tensor) -> torch.Tensor:
    """Predictions that say exactly what is there, at the cells that answer for it."""
    raw = torch.full((1, len(grid), 10), -8.0)
    raw[..., :4] = 0.0
    targets = gather_targets(rows)
    near, valid = candidates(targets, net.strides, WIDTH, HEIGHT)
    for i in range(len(near)):
        for cell in near[i][valid[i]].tolist():
            column, row, stride = grid[cell].tolist()
            x1, y1, x2, y2 = targets.box[i].tolist()
            raw[0, cell, 0] = (x1 + x2) / 2 / stride - column
            raw[0, cell, 1] = (y1 + y2) / 2 / stride - row
            raw[0, cell, 2] = float(np.log((x2 - x1) / stride))
            raw[0, cell, 3] = float(np.log((y2 - y1) / stride))
            raw[0, cell, 4] = raw[0, cell, 5 + int(targets.label[i])] = 8.0
    boxes = decode_boxes(raw, grid)
    answering = assign(raw, boxes, targets, net.strides, WIDTH, HEIGHT).cell
    silent = torch.ones(len(grid), dtype=torch.bool)
    silent[answering] = False
    raw[0, silent, 4] = -8.0
    return raw


def test_the_right_answer_costs_least() -> None:
    net = StreetDetector(SIZES["street-small"])
    grid = cells(net.strides, WIDTH, HEIGHT)
    rows = truth((1, 40, 40, 90, 80, 1), (4, 200, 100, 216, 140, 1))

    def cost(raw: torch.Tensor) -> float:
        return float(detector_loss(raw, rows, grid, net.strides, WIDTH, HEIGHT)[0])

    right = perfect(rows, net, grid)
    nothing = torch.full_like(right, -8.0)
    nothing[..., :4] = 0.0
    wrong_class = right.clone()
    wrong_class[..., 5:] = right[..., 5:].roll(1, dims=2)
    shifted = right.clone()
    shifted[..., 0] += 1.0
    assert cost(right) < 0.8
    for worse in (nothing, wrong_class, shifted, torch.zeros_like(right)):
        assert cost(worse) > cost(right) + 0.3


def test_what_does_not_count_is_charged_for_nothing() -> None:
    net = StreetDetector(SIZES["street-small"])
    grid = cells(net.strides, WIDTH, HEIGHT)
    counted = truth((1, 40, 40, 90, 80, 1))
    with_hidden = truth((1, 40, 40, 90, 80, 1), (4, 200, 100, 216, 140, 0))
    silent = perfect(counted, net, grid)
    finding = perfect(with_hidden, net, grid)

    def cost(raw: torch.Tensor, rows: torch.Tensor) -> float:
        return float(detector_loss(raw, rows, grid, net.strides, WIDTH, HEIGHT)[0])

    assert cost(silent, with_hidden) == pytest.approx(cost(silent, counted), abs=0.02)
    assert cost(finding, with_hidden) < cost(finding, counted) - 0.5


def test_the_average_follows_the_weights() -> None:
    net = torch.nn.Linear(2, 2)
    average = Average(net, decay=0.5)
    with torch.no_grad():
        net.weight.fill_(1.0)
    for _ in range(30):
        average.update(net)
    torch.testing.assert_close(average.net.weight, torch.ones(2, 2), atol=1e-3, rtol=0)


def test_folding_changes_no_output() -> None:
    torch.manual_seed(1)
    net = StreetDetector(SIZES["street-small"])
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    pixels = torch.rand(1, 3, HEIGHT, WIDTH) * 255
    with torch.no_grad():
        before = net.eval()(pixels / 255)
        fold_norms(net)
        scale_input(net)
        after = net.eval()(pixels)
        shipped = ExportedDetector(net)(pixels)
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(shipped[..., :4], before[..., :4], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(shipped[..., 4:], before[..., 4:].sigmoid(), atol=1e-4, rtol=1e-4)


def test_digits_are_split_once_and_for_all() -> None:
    train, train_labels = digits.glyphs("train")
    test, test_labels = digits.glyphs("test")
    assert (len(train), len(test)) == (1297, 500)
    assert train.shape[1:] == (8, 8) and train.max() == 16
    assert set(train_labels.tolist()) == set(test_labels.tolist()) == set(range(10))
    from sklearn.datasets import load_digits

    original = load_digits()
    np.testing.assert_array_equal(np.concatenate([train, test]), original.images)
    np.testing.assert_array_equal(np.concatenate([train_labels, test_labels]), original.target)
