"""Moves: where pixels go, that labels go with them, what is drawn."""

import numpy as np
import pytest
from PIL import Image

from vos_jax.data.augmentation import (
    Affine,
    Geometry,
    Spline,
    mirror_matrix,
    warp_frame,
    warp_labels,
    window_matrix,
)
from vos_jax.data.colour import MEAN_COLOUR
from vos_jax.errors import InputError

SIZE = (40, 56)
STRONG = Affine(rotation=40, shear=20, zoom=(0.5, 2), translation=0.3)


def rng(seed=0):
    return np.random.default_rng(seed)


def painted(seed=0, size=SIZE, ids=4):
    """Labels of smooth regions, and a frame whose colour is 60 times the label."""
    coarse = rng(seed).integers(0, ids, (size[0] // 8, size[1] // 8), np.uint8)
    labels = np.kron(coarse, np.ones((8, 8), np.uint8))
    return Image.fromarray(np.repeat(60 * labels[..., None], 3, axis=2)), labels


def source_places(geometry, size):
    """Where each pixel centre of a result without a bend is in the source, (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    places = np.stack([x, y, np.ones_like(x)], axis=-1) @ geometry.matrix.T
    return places[..., 0], places[..., 1]


def test_the_identity_keeps_every_pixel():
    frame = Image.fromarray(rng().integers(0, 256, (*SIZE, 3), np.uint8))
    labels = rng().integers(0, 256, SIZE, np.uint8)
    still = Geometry(np.eye(3))
    np.testing.assert_array_equal(np.array(warp_frame(frame, still, SIZE)), frame)
    np.testing.assert_array_equal(warp_labels(labels, still, SIZE), labels)


def test_a_flat_spline_keeps_every_pixel():
    frame, labels = painted()
    flat = Geometry(np.eye(3), np.zeros((9, 9, 2)))
    np.testing.assert_array_equal(np.array(warp_frame(frame, flat, SIZE)), frame)
    np.testing.assert_array_equal(warp_labels(labels, flat, SIZE), labels)


def test_a_window_of_whole_pixels_is_a_slice():
    frame, labels = painted()
    geometry = Geometry(window_matrix((5, 3), (16, 24), (16, 24)))
    there = np.s_[3:19, 5:29]
    np.testing.assert_array_equal(
        warp_frame(frame, geometry, (16, 24)), np.array(frame)[there]
    )
    np.testing.assert_array_equal(
        warp_labels(labels, geometry, (16, 24)), labels[there]
    )


def test_a_mirror_swaps_left_and_right():
    frame, labels = painted()
    geometry = Geometry(mirror_matrix(SIZE))
    np.testing.assert_array_equal(
        warp_frame(frame, geometry, SIZE), np.array(frame)[:, ::-1]
    )
    np.testing.assert_array_equal(warp_labels(labels, geometry, SIZE), labels[:, ::-1])


@pytest.mark.parametrize("seed", range(6))
def test_warped_labels_are_the_nearest_ones(seed):
    labels = painted(seed)[1]
    geometry = Geometry(STRONG.draw(rng(seed), SIZE))
    x, y = source_places(geometry, SIZE)
    inside = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])
    rows, columns = (np.floor(np.where(inside, each, 0)).astype(int) for each in (y, x))
    expected = np.where(inside, labels[rows, columns], 0)
    # Pillow counts in 65536ths of a pixel; a place on a border may fall either way.
    assert np.mean(warp_labels(labels, geometry, SIZE) != expected) < 0.005


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bent", [False, True])
def test_warped_masks_sit_on_warped_frames(seed, bent):
    frame, labels = painted(seed)
    bend = Spline(probability=1, strength=0.05).draw(rng(seed), SIZE) if bent else None
    # Of the moves only those that do not average frames over blocks.
    move = Affine(rotation=40, shear=20, zoom=(0.8, 2), translation=0.3)
    geometry = Geometry(move.draw(rng(seed), SIZE), bend)
    warped = np.array(warp_frame(frame, geometry, SIZE))[..., 0].astype(int)
    followed = warp_labels(labels, geometry, SIZE)
    outside = warp_labels(np.ones(SIZE, np.uint8), geometry, SIZE) == 0
    assert not followed[outside].any()
    # Interpolation reaches one pixel beyond a border between labels, no further: where
    # all labels within two source pixels agree, the colour is exactly the label's.
    shifts = [np.eye(3), *(_shift(dx, dy) for dx in (-2, 2) for dy in (-2, 2))]
    near = [
        warp_labels(labels, Geometry(s @ geometry.matrix, bend), SIZE) for s in shifts
    ]
    flat = np.all([each == followed for each in near], axis=0) & ~outside
    assert flat.sum() > 100
    np.testing.assert_array_equal(warped[flat], 60 * followed[flat].astype(int))


def _shift(x, y):
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def test_outside_of_the_picture_are_the_mean_colour_and_background():
    frame = Image.new("RGB", (8, 8), (255, 0, 0))
    geometry = Geometry(_shift(-4, -4))
    warped = np.array(warp_frame(frame, geometry, (16, 16)))
    labels = warp_labels(np.full((8, 8), 9, np.uint8), geometry, (16, 16))
    picture = np.zeros((16, 16), bool)
    picture[4:12, 4:12] = True
    assert (warped[~picture] == MEAN_COLOUR).all()
    assert (warped[picture] == (255, 0, 0)).all()
    np.testing.assert_array_equal(labels, np.where(picture, 9, 0))


def test_a_shrunken_frame_is_averaged_and_not_picked():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 200
    geometry = Geometry(window_matrix((0, 0), (64, 64), (16, 16)))
    shrunken = np.array(warp_frame(Image.fromarray(stripes), geometry, (16, 16)))
    assert (shrunken == 50).all()


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("picture", [(101, 103), (63, 94), (97, 64)])
def test_a_shrunken_frame_ends_where_its_labels_do(picture, seed, bent):
    """Also where its sides are no multiples of the blocks that are averaged."""
    size = (20, 24)
    window = window_matrix((-8, -6), (1.2 * picture[0], 1.3 * picture[1]), size)
    move = Affine(rotation=30, shear=10).draw(rng(seed), size)
    bend = Spline(probability=1, strength=0.05).draw(rng(seed), size) if bent else None
    geometry = Geometry(window @ move, bend)
    frame = warp_frame(Image.new("RGB", picture[::-1], (255, 0, 0)), geometry, size)
    followed = warp_labels(np.ones(picture, np.uint8), geometry, size)
    shown = (np.array(frame) != MEAN_COLOUR).any(axis=-1)
    np.testing.assert_array_equal(shown, followed == 1)
    assert 0.3 < shown.mean() < 1


def test_ignored_pixels_stay_ignored_when_they_move():
    labels = np.full((8, 8), 255, np.uint8)
    warped = warp_labels(labels, Geometry(_shift(2, 0)), (8, 8))
    assert (warped[:, :6] == 255).all()


def test_a_zoom_leads_a_place_to_one_nearer_to_the_centre():
    matrix = Affine(zoom=(2, 2)).draw(rng(), SIZE)
    np.testing.assert_allclose(matrix @ (28, 20, 1), (28, 20, 1), atol=1e-12)
    np.testing.assert_allclose(matrix @ (48, 20, 1), (38, 20, 1), atol=1e-12)


def test_a_turn_leaves_the_centre_where_it_is():
    matrix = Affine(rotation=90, shear=30).draw(rng(), SIZE)
    np.testing.assert_allclose(matrix @ (28, 20, 1), (28, 20, 1), atol=1e-12)
    assert not np.allclose(matrix, np.eye(3), atol=0.01)


def test_drawn_moves_fill_their_ranges_and_stay_in_them():
    angles, zooms, leans = [], [], []
    for seed in range(300):
        matrix = np.linalg.inv(STRONG.draw(rng(seed), SIZE))[:2, :2]
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        zooms.append(np.sqrt(np.linalg.det(matrix)))
        across = (matrix[:, 0] @ matrix[:, 1]) / zooms[-1] ** 2
        leans.append(np.degrees(np.arctan(across)))
    for values, (low, high) in (
        (angles, (-40, 40)),
        (zooms, (0.5, 2)),
        (leans, (-20, 20)),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


def test_drawn_shifts_fill_their_range_and_stay_in_it():
    move = Affine(translation=0.1)
    shifts = np.array([move.draw(rng(seed), (100, 200))[:2, 2] for seed in range(300)])
    assert (np.abs(shifts) <= (20, 10)).all()
    assert (np.abs(shifts).max(axis=0) > (18, 9)).all()


def test_a_spline_passes_through_its_control_points():
    # The same numbers in the same order as `draw`: first whether, then how far.
    generator = rng(5)
    generator.random()
    shifts = generator.normal(0, 0.05, (16, 2)) * (SIZE[1], SIZE[0])
    bend = Spline(probability=1, strength=0.05).draw(rng(5), SIZE)
    np.testing.assert_allclose(bend[::8, ::8].reshape(4, 2), shifts[[0, 3, 12, 15]])


def test_even_the_strongest_spline_hardly_ever_folds_the_picture():
    # In shares of the sides: whether a bend folds does not depend on the size.
    strongest = Spline(probability=1, strength=0.05)
    bends = [strongest.draw(rng(seed), (1, 1)) for seed in range(500)]
    assert np.mean([_folds(bend) for bend in bends]) < 0.02
    assert np.mean([_folds(2 * bend) for bend in bends]) > 0.3


def _folds(bend):
    """Whether a corner of the mesh's boxes does not turn as it did before."""
    corners = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 2), axis=-1) + bend
    right, down = np.diff(corners, axis=1), np.diff(corners, axis=0)
    return any(
        (across[..., 0] * along[..., 1] <= across[..., 1] * along[..., 0]).any()
        for across in (right[:-1], right[1:])
        for along in (down[:, :-1], down[:, 1:])
    )


def test_a_spline_comes_as_often_as_asked():
    some = Spline(probability=0.3)
    drawn = [some.draw(rng(seed), SIZE) is not None for seed in range(400)]
    assert 0.2 < np.mean(drawn) < 0.4


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Affine(rotation=-1), "Affine rotation=-1"),
        (lambda: Affine(rotation=float("nan")), "Affine rotation=nan"),
        (lambda: Affine(shear=90), "Affine shear=90"),
        (lambda: Affine(zoom=(1.2, 0.8)), r"Affine zoom=\(1.2, 0.8\)"),
        (lambda: Affine(zoom=(0, 1)), r"Affine zoom=\(0, 1\)"),
        (lambda: Affine(translation=2), "Affine translation=2"),
        (lambda: Spline(probability=1.5), "Spline probability=1.5"),
        (lambda: Spline(strength=1), "Spline strength=1"),
        (lambda: Spline(strength=0.051), "Spline strength=0.051.*0.05"),
    ],
)
def test_a_setting_out_of_range_is_named(make, named):
    with pytest.raises(InputError, match=named) as error:
        make()
    assert "\n" not in str(error.value)
