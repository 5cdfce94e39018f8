"""Training of a method that takes more than frames."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import hinted as hinted_file
from tests.hinted import HINTS, HintFile, Hints, hinted, maps_of, shrink, write_hints
from vos_jax.data.clip_inputs import ClipInputs
from vos_jax.data.clips import batch_at
from vos_jax.data.recipes import VideoRecipe
from vos_jax.errors import InputError
from vos_jax.inference.step import start, step
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.weights import load_weights
from vos_jax.ops.losses import cross_entropy, known_labels, mean_loss
from vos_jax.runtime.mesh import make_mesh, shard_batch
from vos_jax.training.clip_loss import clip_loss
from vos_jax.training.experiment import DataConfig, Experiment, describe, with_defaults
from vos_jax.training.inputs import check_all_frames, open_clip_inputs, take_inputs
from vos_jax.training.loop import train
from vos_jax.training.start import (
    check_inputs_claim,
    open_data,
    read_claim,
    write_claim,
)
from vos_jax.training.validate import check_validation, validate
from vos_jax.types import ClipBatch

OPTIONS = {"count": 3, "length": 6, "size": (32, 48), "objects": (2, 2)}
GENERATED = DataConfig(source="generated", options=OPTIONS)
STEP = StepConfig()


@pytest.fixture(scope="module")
def model():
    return hinted()


@pytest.fixture(scope="module")
def clip():
    """A clip of three frames with hints for the second and the third."""
    recipe = VideoRecipe(frames=3, size=(32, 48), objects=2)
    source = open_data((GENERATED,), None)
    inputs = open_clip_inputs(HINTS, (GENERATED,), source, None)
    batch = batch_at(source, recipe, 0, 0, 1, inputs=inputs)
    return jax.tree.map(lambda x: x[0], batch)


@partial(jax.jit, static_argnums=(0, 3))
def _loss(method, variables, clip, config, inputs=None):
    return clip_loss(method, variables, clip, jax.random.key(0), config, inputs=inputs)


@pytest.mark.slow
def test_the_loss_of_a_clip_is_that_of_steps_with_its_hints(model, clip):
    found = _loss(*model, clip, STEP)
    labels = known_labels(clip.labels, clip.valid)
    state = start(*model, clip.frames[0], labels[0], ids=[1, 2])
    losses = []
    for number, frame in enumerate(clip.frames[1:]):
        own = jax.tree.map(lambda x, n=number: x[n], clip.inputs)
        state, out = step(*model, state, frame, own)
        losses.append(mean_loss(cross_entropy(out.logits, labels[number + 1])))
    np.testing.assert_allclose(found.loss, sum(losses), rtol=1e-5)


def test_an_objective_may_give_others_in_their_place(model, clip):
    other = clip.inputs._replace(map=clip.inputs.map[:, ::-1])
    given = _loss(*model, clip, STEP, inputs=other)
    assert given.loss == _loss(*model, clip._replace(inputs=other), STEP).loss
    assert given.loss != _loss(*model, clip, STEP).loss


def test_clips_without_hints_are_refused(model, clip):
    with pytest.raises(InputError, match="takes hints with every frame"):
        clip_loss(*model, clip._replace(inputs=None), jax.random.key(0), STEP)
    nothing = hinted(hints=False)
    with pytest.raises(InputError, match="takes nothing but frames"):
        clip_loss(*nothing, clip, jax.random.key(0), STEP)


def test_hints_are_placed_with_their_clips(clip):
    batch = jax.tree.map(lambda x: np.asarray(x)[None], clip)
    placed = shard_batch(make_mesh(), batch)
    assert isinstance(placed, ClipBatch) and isinstance(placed.inputs, Hints)
    np.testing.assert_array_equal(placed.inputs.map, batch.inputs.map)
    assert placed.inputs.map.sharding == placed.frames.sharding


# Where they come from


def opened(kind, configs, data=None):
    return open_clip_inputs(kind, configs, open_data(configs, data), data)


def test_generated_data_need_no_file_and_others_do(tmp_path, monkeypatch):
    assert opened(HINTS, (GENERATED,)).identity == "light"
    assert opened(None, (GENERATED,)) is None
    with pytest.raises(InputError, match=r"data set 'generated': inputs: .*hints"):
        opened(HINTS._replace(of_frames=None), (GENERATED,))
    in_folder = dataclasses.replace(GENERATED, folder="somewhere")
    source = open_data((GENERATED,), None)
    with pytest.raises(InputError, match="takes hints with every frame; name a file"):
        open_clip_inputs(HINTS, (in_folder,), source, tmp_path)


def test_every_data_set_has_its_own_and_repeats_it(tmp_path):
    path = write_hints(tmp_path / "h.npz", maps_of(6), prefix="000001-")
    from_file = dataclasses.replace(GENERATED, inputs="h.npz", repeat=2)
    inputs = opened(HINTS, (GENERATED, from_file), tmp_path)
    assert inputs.count() == 9
    for video in (4, 7):
        found = inputs.clip(video, [0, 2, 5], (32, 48)).read(2, None, (32, 48))
        np.testing.assert_array_equal(found.map, shrink(maps_of(6)[5], (32, 48)).map)
    with pytest.raises(InputError, match=r"h\.npz: no hints for frame 000002-00001"):
        inputs.clip(5, [0, 1], (32, 48))
    with pytest.raises(InputError, match=r"data set 'generated': inputs .*h\.npz: "):
        opened(None, (from_file,), tmp_path)
    assert path.exists()


def test_all_frames_are_looked_for_before_a_run(tmp_path):
    maps = {f"{v:06d}-{t:05d}": x for v in range(3) for t, x in enumerate(maps_of(6))}
    # The first of a video needs none.
    del maps["000002-00000"]
    config = dataclasses.replace(GENERATED, inputs="h.npz")
    source = open_data((config,), None)
    np.savez(tmp_path / "h.npz", **maps)
    check_all_frames(source, opened(HINTS, (config,), tmp_path))
    np.savez(tmp_path / "h.npz", **{k: maps[k] for k in maps if k != "000002-00005"})
    with pytest.raises(InputError, match=r"h\.npz: no hints for frame 000002-00005"):
        check_all_frames(source, opened(HINTS, (config,), tmp_path))
    run = experiment(data=(config,))
    with pytest.raises(InputError, match=r"h\.npz: no hints for frame 000002-00005"):
        train(run, tmp_path / "run", tmp_path)
    assert not (tmp_path / "run" / "experiment.json").exists()


def test_a_still_image_is_in_all_frames_of_its_clips(tmp_path):
    one = dataclasses.replace(GENERATED, options={**OPTIONS, "length": 1})
    source = open_data((one,), None)
    reader = HintFile(write_hints(tmp_path / "h.npz", maps_of(3)))
    with pytest.raises(InputError, match="no hints for frame 000000"):
        check_all_frames(source, ClipInputs([(source, reader)]))


def experiment(**changes):
    fields = {
        "method": hinted_file.__file__,
        "data": (GENERATED,),
        "recipe": VideoRecipe(frames=2, size=(32, 48), objects=2),
        "batch": 2,
        "steps": 4,
        "checkpoint_every": 2,
    }
    return Experiment(**{**fields, **changes})


def test_an_option_gives_them_to_data_that_have_none(tmp_path, monkeypatch):
    own = dataclasses.replace(GENERATED, inputs="light")
    both = experiment(data=(GENERATED, own), validation=(GENERATED,))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.npz").write_text("")
    changed = take_inputs(both, tmp_path / "h.npz")
    assert [x.inputs for x in changed.data] == [str(tmp_path / "h.npz"), "light"]
    assert changed.validation[0].inputs == str(tmp_path / "h.npz")
    word = take_inputs(both, Path("light"))
    assert word.data[0].inputs == "light"
    assert take_inputs(both, None) is both


def test_a_description_from_before_there_were_inputs_is_the_same():
    ours = experiment()
    stored = describe(ours)
    for config in stored["data"]:
        del config["inputs"]
    assert with_defaults(ours, stored) == describe(ours)


def test_the_folder_of_a_run_knows_its_hints(tmp_path, model):
    write_claim(tmp_path, experiment(), model[0], "hints of today")
    begun = read_claim(tmp_path)
    assert begun.experiment == describe(experiment())
    check_inputs_claim(tmp_path, begun, "hints of today")
    check_inputs_claim(tmp_path, None, "others")
    with pytest.raises(InputError, match=r"with inputs 'hints of today', not 'others'"):
        check_inputs_claim(tmp_path, begun, "others")


# Validation and whole runs


def test_videos_are_validated_with_their_hints(model, tmp_path):
    config = dataclasses.replace(GENERATED, options={**OPTIONS, "count": 1})
    source = open_data((config,), None)
    scores = []
    for seed in (1, 2):
        path = write_hints(tmp_path / f"{seed}.npz", maps_of(6, seed=seed), "000000-")
        own = dataclasses.replace(config, inputs=str(path))
        inputs = open_clip_inputs(HINTS, (own,), source, None)
        check_validation(source, inputs)
        scores.append(validate(*model, source, inputs).scores["J&F"])
    assert scores[0] != scores[1]
    few = write_hints(tmp_path / "few.npz", maps_of(5), "000000-")
    own = dataclasses.replace(config, inputs=str(few))
    with pytest.raises(InputError, match="no hints for frame 000000-00005"):
        check_validation(source, open_clip_inputs(HINTS, (own,), source, None))
    with pytest.raises(InputError, match="takes hints with every frame"):
        validate(*model, source)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_hints_alone(tmp_path):
    pytest.importorskip("tensorflow")
    for seed, name in ((1, "one"), (2, "other")):
        hints = {
            f"{video:06d}-{time:05d}": each
            for video in range(3)
            for time, each in enumerate(maps_of(6, seed=seed))
        }
        np.savez(tmp_path / f"{name}.npz", **hints)
    data = (dataclasses.replace(GENERATED, inputs="one.npz"),)
    ours = experiment(data=data, validation=(GENERATED,), validate_every=4)
    whole = train(ours, tmp_path / "whole", tmp_path)
    assert set(whole.scores) == {"J", "F", "J&F"}
    noted = json.loads((tmp_path / "whole" / "experiment.json").read_text())
    assert noted["inputs"] == opened(HINTS, data, tmp_path).identity
    # The same file under another content is another run.
    (tmp_path / "one.npz").write_bytes((tmp_path / "other.npz").read_bytes())
    with pytest.raises(InputError, match="belongs to a run with inputs '"):
        train(ours, tmp_path / "whole", tmp_path)
    other = train(ours, tmp_path / "other", tmp_path)
    one, two = (load_weights(run.weights)["params"] for run in (whole, other))
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    assert any((a != b).any() for a, b in leaves)
