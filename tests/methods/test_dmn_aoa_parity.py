"""DMN-AOA against an independent program in float64, module by module and as a whole.

Its authors released none. Weights are those of `tests.fill`, frames are generated.
"""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import vos_jax
from tests.fill import fill_all
from tests.methods.parity import assert_names_cover
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.methods import METHODS, create
from vos_jax.methods.dmn_aoa.blocks import Levels
from vos_jax.methods.dmn_aoa.config import MEMORY_SAMPLING
from vos_jax.methods.dmn_aoa.matcher import Found
from vos_jax.methods.dmn_aoa.references import Alignment, Reference, for_each
from vos_jax.methods.weights import variable_shapes
from vos_jax.ops import memory_bank
from vos_jax.ops.alignment import align, compare_unaligned
from vos_jax.ops.boxes import tight_boxes
from vos_jax.ops.memory_bank import Moment
from vos_jax.ops.object_read import object_read
from vos_jax.ops.padding import padding
from vos_jax.ops.patches import cosine_correspondence
from vos_jax.ops.resample import block_mean, upsample
from vos_jax.ops.time_code import time_code
from vos_jax.types import Proposals

METHOD = create("dmn-aoa", keep_coarse=True)
ENTRY = METHODS["dmn-aoa"]
OBJECTS, FRAMES = 2, 5
MODULE, ALIGNED, LOGITS = 1e-5, 2e-5, 5e-5
"""Ten times the distance of the same program in float32, over the largest value."""

MASK_HEAD = {
    "mask_head.conv.weight": (256, 512, 3, 3),
    "mask_head.conv.bias": (256,),
    "mask_head.norm.weight": (256,),
    "mask_head.norm.bias": (256,),
    "mask_head.pred.weight": (1, 256, 1, 1),
    "mask_head.pred.bias": (1,),
}

ABLATIONS = {
    "A1": {"use_dmn": False, "use_aoa": False},
    "A2": {"use_aoa": False},
    "A3": {"use_dmn": False},
    "A4": {"frame_memory": True},
    "A5": {"use_matcher": False},
    "A6": {"use_refinenet": False},
}
"""Rows of the paper's table 3."""


@pytest.fixture(scope="module")
def reference(parity_folder):
    with np.load(parity_folder / "dmn_aoa.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def state_dict(parity_folder):
    shapes = json.loads((parity_folder / "dmn_aoa.state_dict.json").read_text())
    return fill_all({name: tuple(shape) for name, shape in shapes.items()})


def _variables(method, state_dict):
    """Of a method; published names that it has no use for are left."""
    table = ENTRY.torch_table(method.config)
    names = {name for source in table.values() for name in source.names}
    own = {name: x for name, x in state_dict.items() if name in names}
    tree = convert_state_dict(own, table, variable_shapes(method))
    return jax.device_put(tree)


@pytest.fixture(scope="module")
def variables(state_dict):
    return _variables(METHOD, state_dict)


def _assert_near(found, expected, largest=MODULE, scale=None):
    found = np.asarray(found)
    assert found.shape == expected.shape
    scale = np.abs(expected).max() if scale is None else scale
    error = np.abs(found - expected).max() / scale
    assert error <= largest, error


def _last(array):
    """Channels from before rows and columns to the end."""
    return np.moveaxis(array, -3, -1)


def _under(reference, prefix):
    """Arrays of a group by the rest of their names."""
    return {
        key.removeprefix(prefix): x
        for key, x in reference.items()
        if key.startswith(prefix)
    }


def test_the_name_table_covers_the_state_dict(variables, state_dict):
    back = export_state_dict(variables, ENTRY.torch_table(METHOD.config))
    assert_names_cover(back, state_dict, len(state_dict))


# Modules


def test_the_dynamic_memory_network_agrees(reference, variables):
    own = _under(reference, "dmn/")
    run = METHOD.bind(variables)
    # [O, T, C, h, w] to [T, O, h, w, C].
    features = jnp.asarray(_last(own["feature_mem"]).swapaxes(0, 1))
    masks = jnp.asarray(own["mask_mem"].swapaxes(0, 1))[..., None]
    keys, values = [], []
    for feature, mask, offset in zip(features, masks, own["offsets_mem"], strict=True):
        coded = run.add_time(feature, jnp.full(OBJECTS, offset))
        key, value = run.memory_encoder(jnp.concatenate([coded, mask], -1))
        keys.append(key)
        values.append(value)
    key, value = jnp.stack(keys), jnp.stack(values)
    _assert_near(key.swapaxes(0, 1), _last(own["key"]))
    _assert_near(value.swapaxes(0, 1), _last(own["value"]))
    offset = jnp.full(OBJECTS, own["offset_query"])
    coded = run.add_time(jnp.asarray(_last(own["feature_query"])), offset)
    query, readable = run.query_encoder(coded), jnp.asarray(own["valid"].T)
    for read in ("reference", "slots"):
        found = object_read(query, key, value, readable, implementation=read)
        _assert_near(found, _last(own["template"]))
    code = time_code(own["offsets_code"], 512)
    assert np.abs(np.asarray(code) - own["code"]).max() <= 1e-6


def test_adaptive_object_alignment_agrees(reference, variables):
    own = _under(reference, "aoa/")
    run = METHOD.bind(variables).matcher
    template = run.project_template(jnp.asarray(_last(own["template"])))
    proposals = run.project_proposal(jnp.asarray(_last(own["proposal"])))
    found = align(template, proposals, implementation="reference")
    _assert_near(found.correspondence, own["S"], ALIGNED)
    aligned = found.aligned.reshape(2, 4, 36, 256).swapaxes(-1, -2)
    _assert_near(aligned, own["aligned"], ALIGNED)
    _assert_near(found.similarity, own["sim"], scale=1)
    _assert_near(align(template, proposals).similarity, own["sim"], scale=1)
    unaligned = compare_unaligned(template, proposals)
    _assert_near(unaligned, own["sim_unaligned"], scale=1)


def test_refine_net_agrees(reference, variables):
    own = _under(reference, "refine/")
    run = METHOD.bind(variables)
    current, first, previous = (
        Levels(*(jnp.asarray(_last(own[f"{name}_{stride}"])) for stride in (4, 8, 16)))
        for name in ("cur", "first", "prev")
    )
    place = run.refine_net.place(current)
    masks = {name: block_mean(own[name], 4) for name in ("mask_first", "mask_prev")}
    references = {
        name: Reference(levels, run.refine_net.reference_place(levels), mask)
        for name, levels, mask in (
            ("first", first, masks["mask_first"]),
            ("prev", previous, masks["mask_prev"]),
        )
    }
    for name, each in references.items():
        s = cosine_correspondence(place, each.place)
        _assert_near(s, own[f"S_{name}"], ALIGNED)
    alignment = Alignment(place, 100.0, True, METHOD.config.numerics)
    s, moved = alignment.levels(references["prev"])
    for stride, level in zip((4, 8, 16), moved, strict=True):
        _assert_near(level, _last(own[f"aligned_prev_{stride}"]), ALIGNED)
    mask = alignment.masks(references["prev"].mask, s)
    _assert_near(mask, own["aligned_mask_prev_4"], ALIGNED)
    memory = METHOD.init_memory(64, 96, OBJECTS, 2)
    everything = jnp.ones(OBJECTS, bool)
    kept = for_each(references["first"], OBJECTS)
    memory = memory._replace(
        first=memory_bank.overwrite(memory.first, 0, kept, everything, jnp.int32(0)),
        previous=references["prev"],
    )
    frame, found = jnp.zeros((64, 96, 3)), Found(jnp.asarray(own["coarse"]))
    logits = run.refine(memory, current, frame, everything, None, found)
    enlarged = jnp.moveaxis(upsample(logits, 4), -1, 1)
    _assert_near(enlarged, own["logits"])


# Videos


def _proposals(reference, t):
    own = _under(reference, "full/prop_")
    return Proposals(
        *(own[name][t - 1] for name in ("boxes", "masks", "scores", "valid"))
    )


@partial(jax.jit, static_argnums=0)
def _encode(method, variables, frame):
    return method.apply(variables, frame, method="encode")


@pytest.fixture(scope="module")
def encoded(reference, variables):
    """Of all frames: rows of the table differ in what follows."""
    return [_encode(METHOD, variables, frame) for frame in _frames(reference)]


def _frames(reference):
    return jnp.asarray(reference["full/frames"] / np.float32(255))


def _with_boxes(keep, masks):
    boxes, shows = jax.jit(tight_boxes)(masks)
    return keep._replace(boxes=boxes, shows=shows)


@partial(jax.jit, static_argnums=(0, 1))
def _empty(method, size):
    # As many slots for every policy: reading is compiled once.
    return method.init_memory(*size, OBJECTS, 6)


@partial(jax.jit, static_argnums=0)
def _memorize(method, variables, memory, keep, frame, probs, time):
    everything = jnp.ones(OBJECTS, bool)
    moment = Moment(time, everything, everything & (time == 0), jnp.bool_(False))
    return method.apply(
        variables, memory, frame, keep, probs, moment, method="memorize"
    )


@partial(jax.jit, static_argnums=0)
def _segment(method, variables, memory, query, frame, proposals):
    run, active = method.bind(variables), jnp.ones(OBJECTS, bool)
    template = run.read(memory, query, active)
    logits, memory = run.segment(memory, query, frame, active, proposals)
    return logits, jax.nn.softmax(logits, axis=0), memory, template


class Run:
    """A video, and what was found of each predicted frame."""

    def __init__(
        self, method, variables, reference, encoded, given=None, frames=FRAMES
    ):
        first = reference["full/first_label"]
        one_hot = first == np.arange(OBJECTS + 1)[:, None, None]
        probs = one_hot.astype(np.float32)
        frames = _frames(reference)[:frames]
        top, left = padding(first.shape[0])[0], padding(first.shape[1])[0]
        memory = _empty(method, first.shape)
        keep = self.first = encoded[0].keep
        if given is not None:
            # Those that it would find, so that `memorize` is compiled once.
            keep = _with_boxes(keep, one_hot[1:])
        self.labels, self.boxes = [first], []
        self.logits, self.templates, self.memories = [], [], []
        for t in range(1, len(frames)):
            before = frames[t - 1], probs, np.int32(t - 1)
            memory = _memorize(method, variables, memory, keep, *before)
            if t > 1:
                self._add_box(memory, top, left)
            proposals = _proposals(reference, t) if method.inputs else None
            query, keep = encoded[t]
            logits, probs, memory, template = _segment(
                method, variables, memory, query, frames[t], proposals
            )
            self.logits.append(np.asarray(logits))
            self.labels.append(self.logits[-1].argmax(0))
            self.templates.append(template)
            self.memories.append(memory)
            if given is not None:
                background = np.clip(1 - given[t].sum(0, keepdims=True), 0, None)
                probs = np.concatenate([background, given[t]])
                # Not of the most probable objects, as of what was found.
                keep = _with_boxes(keep, given[t] > 0.5)
        latest = frames[-1], probs, np.int32(t)
        memory = _memorize(method, variables, memory, keep, *latest)
        self._add_box(memory, top, left)

    def _add_box(self, memory, top, left):
        box = np.asarray(memory.track.entries.box[0])
        self.boxes.append(box - [left, top, left, top])


def _compare(run, reference, name, largest_box=0):
    own = _under(reference, f"full/{name}_")
    valid = reference["full/prop_valid"][:, None]
    similarity = np.stack([memory.similarity for memory in run.memories])
    shown = np.broadcast_to(valid, similarity.shape)
    _assert_near(similarity[shown], own["sim"][shown], scale=1)
    weights = np.stack([memory.weights for memory in run.memories])
    _assert_near(weights, own["weights"], scale=1)
    assert np.abs(np.stack(run.boxes) - own["boxes"]).max() <= largest_box
    _assert_same_labels(np.stack(run.labels), own["labels"])


def _assert_same_labels(found, expected):
    assert (np.unique(expected) == [0, 1, 2]).all()
    # Ties are pixels whose label depends on rounding.
    assert np.mean(found != expected, axis=(1, 2)).max() <= 5e-4


def test_all_stages_of_a_free_run_agree(reference, variables, encoded):
    run = Run(METHOD, variables, reference, encoded)
    _compare(run, reference, "free", largest_box=1)
    _assert_near(run.first.levels.res4, _last(reference["full/feature0_16"]))
    _assert_near(run.templates[0], _last(reference["full/template1"]))
    _assert_near(run.memories[0].coarse, reference["full/coarse1"])
    _assert_near(run.logits[0], reference["full/logit1"], LOGITS)


def test_a_run_with_given_masks_agrees(reference, variables, encoded):
    given = reference["full/forced_masks"]
    assert not (given[2, 1] > 0.5).any()
    run = Run(METHOD, variables, reference, encoded, given)
    _compare(run, reference, "forced")
    _assert_near(run.logits[1], reference["full/forced_logit2"], LOGITS)
    _assert_near(run.logits[-1], reference["full/forced_logit_last"], LOGITS)
    _assert_near(run.templates[-1], _last(reference["full/forced_template_last"]))
    _assert_near(run.memories[-1].coarse, reference["full/forced_coarse_last"])


def test_a_run_that_remembers_all_frames_agrees(reference, variables, encoded):
    config = dataclasses.replace(METHOD.config, **MEMORY_SAMPLING["all"])
    run = Run(
        METHOD.clone(config=config),
        variables,
        reference,
        encoded,
        reference["full/forced_masks"],
    )
    _compare(run, reference, "forced_all")


@pytest.mark.parametrize("row", ABLATIONS)
def test_networks_without_some_modules_agree(reference, state_dict, encoded, row):
    method = create("dmn-aoa", keep_coarse=True, **ABLATIONS[row])
    own = _variables(method, {**state_dict, **fill_all(MASK_HEAD)})
    given = reference["full/forced_masks"]
    run = Run(method, own, reference, encoded, given, frames=3)
    if row == "A6":
        probs = softmax(run.logits[1], axis=0)
        _assert_near(probs, reference["ablation/A6_prob2"])
    else:
        _assert_near(run.logits[1], reference[f"ablation/{row}_logit2"], LOGITS)


# The other networks read in chunks, as do the tests of modules.
@pytest.mark.parametrize(
    "read",
    [
        "reference",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("slots", "blocks")),
    ],
)
def test_a_folded_network_agrees(reference, variables, read):
    model = vos_jax.inference_form(
        create("dmn-aoa", read=read, keep_coarse=True), variables
    )
    encoded = [_encode(*model, frame) for frame in _frames(reference)]
    run = Run(*model, reference, encoded)
    _compare(run, reference, "free", largest_box=1)
    _assert_near(run.logits[0], reference["full/logit1"], LOGITS)
