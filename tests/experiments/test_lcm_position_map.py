"""The picture of position maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import moving_clip, write_frames, write_masks
from tests.experiments.scripts import script
from tests.methods.lcm_weights import narrow
from vos_jax.ops.memory_bank import Moment
from vos_jax.runtime.plotting import pyplot

position_map = script("lcm/position_map")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lcm():
    # Fewer than there are cells, or every map would be a mean of all responses.
    return vos_jax.inference_form(*narrow(position_k=2))


@pytest.fixture(scope="module")
def clip():
    """Three frames that are padded to 2 x 3 cells, and the labels of the first."""
    frames, labels = moving_clip(3)
    return frames[:, :30, :44], labels[0, :30, :44]


@pytest.fixture(scope="module")
def rows(lcm, clip):
    return position_map.look(*lcm, *clip, [1, 2], [2, 1])


def test_a_frame_has_a_row_for_each_object(rows):
    assert [(row.time, row.id) for row in rows] == [(1, 2), (1, 1), (2, 2), (2, 1)]
    for row in rows:
        assert row.likely.shape == (2, 3)
        assert row.before.shape == row.found.shape == (30, 44)


def test_masks_before_are_those_given_and_then_those_found(rows, clip):
    for row in rows[:2]:
        np.testing.assert_array_equal(row.before, clip[1] == row.id)
    for first, second in zip(rows[:2], rows[2:], strict=True):
        np.testing.assert_array_equal(first.found, second.before)


def test_a_map_is_that_of_the_frame_before_memorised(rows, lcm, clip):
    method, variables = lcm
    frames = jnp.asarray(clip[0][:2], jnp.float32) / 255
    given = jnp.asarray(clip[1][None] == np.arange(3)[:, None, None], jnp.float32)
    both = jnp.ones(2, bool)
    moment = Moment(jnp.int32(0), both, both, jnp.bool_(False))

    @jax.jit
    def by_hand(variables):
        network = method.bind(variables)
        memory = network.init_memory(30, 44, 2, 2)
        memory = network.memorize(memory, frames[0], (), given, moment)
        return network.position_map(memory, network.encode(frames[1]).query)

    expected = by_hand(variables)
    # The same sums in two programs: float32 noise of a network of 20 layers.
    np.testing.assert_allclose(rows[1].likely, expected[0], rtol=1e-3)
    np.testing.assert_allclose(rows[0].likely, expected[1], rtol=1e-3)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * expected.max()


@pytest.fixture
def drawn(clip, tmp_path, monkeypatch):
    """Draws rows; returns the figure instead of writing it."""
    pytest.importorskip("matplotlib")

    def draw(rows):
        figures = []
        monkeypatch.setattr(
            position_map, "write_figure", lambda figure, path: figures.append(figure)
        )
        position_map.draw(rows, clip[0], 8, tmp_path / "map.png")
        (figure,) = figures
        figure.canvas.draw()
        return figure

    yield draw
    pyplot().close("all")


def test_panels_say_in_words_what_they_show(drawn):
    likely = np.array([[0.1, 0.1, 0.3], [0.1, 0.2, 0.1]])
    right = np.zeros((30, 44), bool)
    # The cell with 0.3: there are 2 columns of padding on the left and a row above.
    right[:15, 30:] = True
    nothing = np.zeros_like(right)
    figure = drawn(
        [
            position_map.Row(1, 7, right, likely, right),
            position_map.Row(2, 7, right, likely, nothing),
        ]
    )
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == [
        *("frame 0: the mask given", "frame 1: the position map"),
        *("frame 1: the mask found", "frame 1: the mask found"),
        *("frame 2: the position map", "frame 2: nothing found"),
    ]
    assert panels[0].get_ylabel() == panels[3].get_ylabel() == "object 7"
    assert panels[1].get_xlabel() == "in the mask 2.47 times as strong as outside"
    assert panels[4].get_xlabel() == ""
    (bar,) = panels[1].child_axes
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0.1", "0.2", "0.3"]
    assert "its 6 strongest responses" in figure.get_supxlabel()
    assert "1/6 = 0.167" in figure.get_supxlabel()


def test_a_map_that_is_0_on_one_side_of_the_mask_is_compared_in_words():
    with np.errstate(all="raise"):
        zero, one = np.float32(0), np.float32(1)
        assert "more than 100 times" in position_map._compared(one, zero)
        assert "less than 0.01 times" in position_map._compared(zero, one)


def test_one_command_segments_and_draws(lcm, clip, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(position_map, "load_model", lambda *_, **__: lcm)
    video = write_frames(tmp_path / "video", clip[0])
    mask = write_masks(tmp_path / "masks", {"first": clip[1]}) / "first.png"
    out = tmp_path / "new" / "map.png"
    words = [str(video), "--mask", str(mask), "--frame", "2", "1", "2", "--object", "2"]
    assert position_map.main([*words, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    height, width = clip[1].shape
    rows = 2 * (3.3 * height / width + 0.4) + 1
    with Image.open(out) as image:
        # Two rows of three panels, 11 inches of 130 dots.
        np.testing.assert_allclose(image.size, (1430, 130 * rows), atol=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frame", "3", "0"], "--frame 0: use at least 1"),
        (["--method", "stm-tiny"], "--method stm-tiny: has no position map; use LCM"),
        (["--object", "1", "9"], "--object 9: the first mask has 1, 2"),
        (["--mask", "first.png"], "give either a video with --mask or --generated"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(words, message, lcm, monkeypatch, capsys):
    monkeypatch.setattr(position_map, "load_model", lambda *_, **__: lcm)
    source = [] if "--mask" in words else ["--generated", "1"]
    assert position_map.main([*source, *words, "--out", "x.png"]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_a_network_without_its_pgm_is_told_in_one_line(monkeypatch, capsys):
    without = vos_jax.create("lcm", use_pgm=False, folded=True)
    monkeypatch.setattr(position_map, "load_model", lambda *_, **__: (without, {}))
    assert position_map.main(["--generated", "1", "--out", "x.png"]) == 2
    told = capsys.readouterr().err
    assert "--method lcm-tiny: without its PGM" in told and told.count("\n") == 1
