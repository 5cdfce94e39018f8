"""The demo, made small."""

import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import read_masks
from vos_jax.evaluation import read_dataset
from vos_jax.inference import demo
from vos_jax.media import open_frames


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(demo, "_WORLD_SIZE", (48, 64))
    monkeypatch.setattr(demo, "_FRAMES", 5)


def test_it_writes_data_masks_overlays_and_a_sheet(
    tiny_method, tiny_variables, tmp_path
):
    # What an older run with other weights left must not be taken for this one's.
    stale = tmp_path / "masks" / "clip0" / "00002.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    model = vos_jax.inference_form(tiny_method, tiny_variables)
    report = demo.run_demo(*model, tmp_path, clips=1)
    assert {o.sequence for o in report.objects} == {"clip0"}
    assert 0 <= report.summary()["J&F-Mean"] <= 1
    masks = read_masks(tmp_path / "masks" / "clip0")
    assert sorted(masks) == [f"{time:05d}" for time in range(5)]
    assert len(open_frames(tmp_path / "clip0.mp4")) == 5
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 5 * 64
    (sequence,) = read_dataset("davis2017", tmp_path / "data", "demo")
    assert len(sequence.frames) == 5


def test_clips_repeat_and_differ_in_number_of_objects():
    for number in range(3):
        first, again = demo.demo_clip(number), demo.demo_clip(number)
        np.testing.assert_array_equal(first.frames, again.frames)
        assert len(np.unique(first.labels[0])) == 2 + number
    assert (demo.demo_clip(0).frames != demo.demo_clip(3).frames).any()
