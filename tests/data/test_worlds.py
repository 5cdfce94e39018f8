"""Clips of worlds: as pure and exact as those of shapes, and each theme's own."""

import itertools

import numpy as np
import pytest

from tests.by_default import by_default
from vos_jax.data.synthetic import THEMES, generate_clip, generate_frames, iterate_clip
from vos_jax.data.synthetic.actors import KINDS, WORLDS
from vos_jax.data.synthetic.bodies import KINDS as FIGURES
from vos_jax.data.synthetic.bodies import draw_figure
from vos_jax.data.synthetic.camera import blur
from vos_jax.data.synthetic.figures import Pose
from vos_jax.data.synthetic.painting import Canvas, Lamp, paint
from vos_jax.data.synthetic.surfaces import draw_colours, draw_surface
from vos_jax.data.synthetic.worlds import draw_world
from vos_jax.errors import InputError

SIZE = (64, 80)
LAMP = Lamp(0.6, -0.8, 0.4, 0.4)
# Numerical warnings would be garbage in the picture.
pytestmark = pytest.mark.filterwarnings("error")
every_theme = pytest.mark.parametrize(
    "theme",
    by_default(WORLDS, ["world", "slow"]),
)


def test_shapes_are_what_they_were_before_there_were_worlds():
    """Mean brightness and pixels of both objects, as the first version drew them."""
    before = {
        0: ([173.576, 172.914, 172.831], [[767, 811, 846], [430, 485, 318]]),
        1: ([179.102, 179.735, 190.238], [[235, 347, 487], [604, 776, 682]]),
        2: ([159.003, 158.01, 160.605], [[408, 400, 352], [654, 708, 684]]),
    }
    for seed, (means, counts) in before.items():
        clip = generate_clip((seed, 5), 3, SIZE, 2, stride=9)
        np.testing.assert_allclose(clip.frames.mean((1, 2, 3)), means, atol=0.01)
        found = [(clip.labels == label).sum((1, 2)) for label in (1, 2)]
        assert np.abs(np.subtract(found, counts)).max() <= 1


@every_theme
def test_frames_are_functions_of_seed_and_time(theme):
    clip = generate_clip((3, 1), 4, SIZE, 2, stride=3, theme=theme)
    assert clip.frames.shape == (4, *SIZE, 3) and clip.labels.shape == (4, *SIZE)
    assert clip.frames.dtype == clip.labels.dtype == np.uint8
    assert clip.labels.max() <= 2
    backwards = generate_frames((3, 1), [9, 0], SIZE, 2, theme=theme)
    stream = iterate_clip((3, 1), SIZE, 2, theme=theme)
    streamed = list(itertools.islice(stream, 4))[3]
    for whole, some, frame in zip(clip, backwards, streamed, strict=True):
        np.testing.assert_array_equal(some, whole[[3, 0]])
        np.testing.assert_array_equal(frame, whole[1])


@every_theme
@pytest.mark.parametrize(("objects", "difficulty"), [(1, 0.0), (3, 1.0), (7, 3.0)])
def test_every_object_shows_in_the_first_frame(theme, objects, difficulty):
    labels = generate_clip(1, 1, SIZE, objects, difficulty, theme=theme).labels
    seen = np.bincount(labels.ravel(), minlength=objects + 1)
    assert len(seen) == objects + 1
    assert seen[1:].min() >= 0.01 * labels.size


def test_many_objects_fit():
    labels = generate_clip(0, 1, (96, 128), 30, theme="world").labels
    assert set(range(1, 31)) <= set(np.unique(labels).tolist())


@pytest.mark.slow
def test_seeds_and_themes_give_different_clips():
    drawn = [generate_clip(seed, 1, SIZE, 2, theme="world") for seed in (0, [0, 1])]
    drawn += [generate_clip(0, 1, SIZE, 2, theme=theme) for theme in WORLDS][1:]
    for one, other in itertools.combinations(drawn, 2):
        assert np.mean(one.frames != other.frames) > 0.5
        assert np.any(one.labels != other.labels)


def test_objects_of_worlds_have_parts_of_several_looks():
    """As shapes have not: their colours differ more from part to part."""

    def spread(theme):
        found = []
        for seed in range(8):
            clip = generate_clip((seed, 9), 1, SIZE, 1, theme=theme)
            colours = clip.frames[clip.labels > 0].astype(float)
            rows = np.nonzero(clip.labels[0])[0]
            low = rows > np.median(rows)
            found.append(np.abs(colours[low].mean(0) - colours[~low].mean(0)).max())
        return np.median(found)

    assert spread("world") > spread("shapes")


def test_lookalikes_begin_on_opposite_sides_and_cross():
    theme = WORLDS["lookalikes"]
    world = draw_world(np.random.default_rng(1), SIZE, 3, 1.0, theme)
    for label in (1, 2, 3):
        actor = next(x for x in world.actors if x.label == label)
        twin = next(x for x in world.actors if not x.label and x.figure is actor.figure)
        still = np.zeros(2)
        ways = [
            [x.pose(time, SIZE, still).centre[0] for time in range(0, 400, 4)]
            for x in (actor, twin)
        ]
        before = np.sign(np.subtract(*ways))
        assert set(before) >= {-1, 1}


@pytest.mark.slow
def test_objects_leave_and_come_back():
    returned = 0
    for seed in range(8):
        clip = generate_clip((seed, 2), 24, SIZE, 1, stride=8, theme="leaving")
        there = (clip.labels > 0).sum((1, 2)) > 4
        gone = np.flatnonzero(~there)
        returned += len(gone) > 0 and there[gone[0] :].any()
    assert returned >= 4


@pytest.mark.slow
def test_thin_objects_have_more_edge_for_their_area():
    def edge(theme):
        total = []
        for seed in range(8):
            inside = generate_clip((seed, 6), 1, SIZE, 1, theme=theme).labels > 0
            border = (inside[:, 1:] != inside[:, :-1]).sum()
            total.append(border / np.sqrt(inside.sum()))
        return np.mean(total)

    assert edge("thin") > 1.05 * edge("world")


@pytest.mark.slow
def test_slow_clips_change_less_from_frame_to_frame_and_much_in_the_end():
    def change(theme, stride):
        found = []
        for seed in range(6):
            clip = generate_clip((seed, 7), 2, SIZE, 1, stride=stride, theme=theme)
            found.append(np.mean(clip.labels[0] != clip.labels[1]))
        return np.mean(found)

    assert change("slow", 4) < 0.7 * change("world", 4)
    assert change("slow", 200) > 3 * change("slow", 4)


@pytest.mark.slow
def test_busy_backdrops_hold_more_colours_and_those_of_the_objects():
    distances, colours = {}, {}
    for theme in ("world", "busy"):
        distances[theme], colours[theme] = [], []
        for seed in range(12):
            rng = np.random.default_rng((seed, 8))
            world = draw_world(rng, SIZE, 1, 0.5, WORLDS[theme])
            actor = next(actor for actor in world.actors if actor.label)
            own = actor.figure.parts[0].surface.texels.astype(float).mean(0)
            behind = world.backdrop.texels[::37].astype(float)
            apart = np.abs(behind - own).max(1)
            distances[theme].append(np.quantile(apart, 0.02))
            colours[theme].append(behind.std(0).mean())
    assert np.median(distances["busy"]) < 0.8 * np.median(distances["world"])
    assert np.median(colours["busy"]) > 1.2 * np.median(colours["world"])


@pytest.mark.slow
def test_turning_objects_show_sides_of_other_looks():
    theme = WORLDS["turning"]
    changes = []
    for seed in range(8):
        rng = np.random.default_rng((seed, 4))
        world = draw_world(rng, SIZE, 1, 0.5, theme)
        actor = next(actor for actor in world.actors if actor.label)
        assert actor.drift[2] and 0 < actor.sides <= theme.sides
        for sides in (0.0, actor.sides):
            seen = []
            for yaw in (0.0, np.pi):
                canvas = Canvas.of(np.zeros((64, 64, 3), np.float32))
                pose = Pose((32, 32), 18, yaw, 0.0, 0.0, sides)
                paint(canvas, actor.figure, pose, LAMP, 1, 18)
                seen.append(canvas.colours[canvas.labels > 0].mean(0))
            changes.append(np.abs(seen[0] - seen[1]).max())
    assert np.median(changes[1::2]) > 1.5 * np.median(changes[::2])


@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_can_be_seen_from_every_side(kind):
    rng = np.random.default_rng(0)
    figure = draw_figure(rng, kind, 20, 1.0)
    pictures = []
    for yaw in (0.0, np.pi / 2, np.pi):
        canvas = Canvas.of(np.full((64, 64, 3), np.float32(100)))
        pose = Pose((32, 32), 18, yaw, 0.0, 5.0)
        covered = paint(canvas, figure, pose, LAMP, 7, 20)
        assert covered == (canvas.labels == 7).sum() > 10
        assert set(np.unique(canvas.labels)) == {0, 7}
        untouched = canvas.labels.reshape(64, 64)[:2] == 0
        assert untouched.any()
        pictures.append(canvas.colours)
    assert np.isfinite(pictures).all()
    if kind not in ("post", "house"):
        assert np.abs(pictures[0] - pictures[1]).max() > 20


def test_a_figure_outside_of_the_frame_leaves_it_alone():
    figure = draw_figure(np.random.default_rng(0), "person", 20, 1.0)
    canvas = Canvas.of(np.full((64, 64, 3), np.float32(100)))
    assert paint(canvas, figure, Pose((1e9, -500), 18, 0, 0, 0), LAMP, 1, 20) == 0
    assert (canvas.colours == 100).all() and not canvas.labels.any()


def test_surfaces_repeat_without_a_seam():
    rng = np.random.default_rng(0)
    seam = middle = 0.0
    for material in ("leaf", "earth", "wood", "skin", "water", "wall", "any") * 6:
        picture = draw_surface(rng, material, 64).texels.reshape(64, 64, 3)
        picture = picture.astype(float)
        steps = np.abs(picture - np.roll(picture, 1, axis=0)).mean((1, 2))
        # Halves are drawn alike; some surfaces double each row.
        seam += steps[:2].sum()
        middle += steps[32:34].sum()
    assert 0.75 < seam / middle < 1.33


def test_materials_have_colours_of_their_own():
    rng = np.random.default_rng(0)
    leaf, skin = (
        np.mean([draw_colours(rng, name).mean(0) for _ in range(20)], axis=0)
        for name in ("leaf", "skin")
    )
    assert leaf[1] > 1.2 * leaf[[0, 2]].max()
    assert skin[0] > skin[1] > skin[2]


def test_blur_keeps_brightness():
    picture = np.random.default_rng(0).random((8, 9, 3), np.float32)
    soft = blur(picture, 0.25)
    np.testing.assert_allclose(soft.mean(), picture.mean(), rtol=0.05)
    assert soft.std() < 0.7 * picture.std()


def test_a_theme_that_is_not_there_is_named_beside_those_that_are():
    with pytest.raises(InputError, match="theme='moon' is unknown; use shapes, world"):
        generate_clip(0, 1, SIZE, 1, theme="moon")
    assert THEMES[0] == "shapes" and set(KINDS) < set(FIGURES)
