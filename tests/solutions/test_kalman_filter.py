"""Four 2x2 filters against filterpy's 8x8 one, and against the steady state of a closed form."""

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter

from solutions.phase4_production.video_analysis import kalman_filter as kf


def textbook(first: np.ndarray) -> KalmanFilter:
    """filterpy's filter with the same noise, 8 states coupled in one matrix."""
    size = np.tile(np.maximum(first[2:], 1), 2)
    filter_ = KalmanFilter(dim_x=8, dim_z=4)
    filter_.x = np.concatenate([first, np.zeros(4)])[:, None]
    filter_.P = np.diag(
        np.concatenate([(2 * kf.POSITION_NOISE * size) ** 2, (10 * kf.VELOCITY_NOISE * size) ** 2])
    )
    filter_.H = np.eye(4, 8)
    return filter_


@pytest.mark.parametrize("elapsed", [1.0, 2.5])
def test_equals_filterpy_over_a_track(elapsed) -> None:
    rng = np.random.default_rng(6)
    first = np.array([100.0, 50.0, 30.0, 60.0])
    reference, ours = textbook(first), kf.initiate(first[None])
    for step in range(40):
        size = np.tile(np.maximum(reference.x[2:4, 0], 1), 2)
        noise = np.concatenate([(kf.POSITION_NOISE * size) ** 2, (kf.VELOCITY_NOISE * size) ** 2])
        transition = np.eye(8) + elapsed * np.eye(8, k=4)
        reference.predict(F=transition, Q=np.diag(noise * elapsed))
        ours = kf.predict(ours, elapsed)
        np.testing.assert_allclose(ours.position[0], reference.x[:4, 0], rtol=1e-9)
        measured = first + step * np.array([3, 1, 0.2, 0.1]) + rng.normal(0, 1, 4)
        size = np.tile(np.maximum(reference.x[2:4, 0], 1), 2)
        reference.update(measured[:, None], R=np.diag((kf.POSITION_NOISE * size) ** 2))
        ours = kf.correct(ours, measured[None])
        np.testing.assert_allclose(ours.position[0], reference.x[:4, 0], rtol=1e-9)
        np.testing.assert_allclose(ours.velocity[0], reference.x[4:, 0], rtol=1e-7, atol=1e-9)
        covariance = reference.P
        np.testing.assert_allclose(ours.pp[0], np.diag(covariance)[:4], rtol=1e-8)
        np.testing.assert_allclose(ours.vv[0], np.diag(covariance)[4:], rtol=1e-8)
        np.testing.assert_allclose(ours.pv[0], np.diag(covariance, k=4), rtol=1e-8)


def test_filters_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(7)
    boxes = rng.uniform(20, 80, (6, 4))
    together = kf.correct(kf.predict(kf.initiate(boxes)), boxes + 1)
    for i in range(6):
        alone = kf.correct(kf.predict(kf.initiate(boxes[i : i + 1])), boxes[i : i + 1] + 1)
        np.testing.assert_allclose(together.position[i], alone.position[0])
        np.testing.assert_allclose(together.vv[i], alone.vv[0])


def test_a_perfect_measurement_of_a_still_box_changes_nothing_but_certainty() -> None:
    box = np.array([[50.0, 60.0, 20.0, 40.0]])
    states = kf.initiate(box)
    for _ in range(50):
        states = kf.correct(kf.predict(states), box)
    np.testing.assert_allclose(states.position, box)
    np.testing.assert_allclose(states.velocity, 0, atol=1e-12)
    assert np.all(states.pp < kf.initiate(box).pp)


def test_corners_and_centres_are_inverse() -> None:
    boxes = np.array([[1.0, 2.0, 5.0, 10.0], [0.0, 0.0, 640.0, 360.0]])
    np.testing.assert_allclose(kf.to_corners(kf.to_centre(boxes)), boxes)


def test_surprise_is_the_mahalanobis_distance() -> None:
    from scipy.spatial.distance import mahalanobis

    rng = np.random.default_rng(11)
    boxes = rng.uniform(20, 80, (3, 4))
    states = kf.predict(kf.initiate(boxes))
    measured = boxes + rng.normal(0, 4, (3, 4))
    found = kf.surprise(states, measured)
    for i in range(3):
        size = np.tile(states.position[i, 2:], 2)
        covariance = np.diag(states.pp[i] + (kf.POSITION_NOISE * size) ** 2)
        expected = mahalanobis(measured[i], states.position[i], np.linalg.inv(covariance))
        assert found[i] == pytest.approx(expected**2)
