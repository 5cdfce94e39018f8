"""HMMN against outputs of the authors' released program, stage by stage.

The reference has weights of `tests.fill` and generated frames. Another one on real
frames is compared where there is a folder of them.
"""

import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.by_default import by_default
from tests.fill import fill_all
from tests.methods.parity import (
    STM_INPUTS,
    Stored,
    assert_names_cover,
    assert_stages_agree,
    tolerance,
)
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.methods import METHODS, create
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.encoders import other_objects
from vos_jax.ops.guidance import kernel_guided_read, kernel_log
from vos_jax.ops.memory_bank import FIRST, Moment

HERE = Path(__file__).parent
SHAPES = json.loads((HERE / "hmmn_state_dict.json").read_text())
METHOD = create("hmmn", mem_every=2)
ENTRY = METHODS["hmmn"]
OBJECTS, CELLS, SEED = 2, 112, 2

DECISIONS = ("_track", "_kernel_centre", "_top32")


class Reference(Stored):
    """Inputs and results of the released program, in this package's layout."""

    inputs = STM_INPUTS

    def __getitem__(self, key: str) -> np.ndarray:
        array = self.arrays[key]
        if key.endswith(("_prob", "_logits")):
            return array[0]
        if key.endswith(("_sim", "_attn", "_guidance")):
            return array.swapaxes(1, 2)
        if (
            key in (*self.inputs, "labels", "memory_frames")
            or key.endswith(DECISIONS)
            or key.startswith("mem1_in")
        ):
            return array
        return np.moveaxis(array, -3, -1)


@pytest.fixture(scope="module")
def state_dict():
    return fill_all(SHAPES, SEED)


@pytest.fixture(scope="module")
def variables(state_dict):
    table, shapes = ENTRY.torch_table(METHOD.config), variable_shapes(METHOD)
    tree = convert_state_dict(state_dict, table, shapes, ENTRY.torch_ignored)
    return jax.device_put(tree)


@pytest.fixture(scope="module", params=by_default(["generated", "real"]))
def reference(request):
    if request.param == "generated":
        return Reference(HERE / "hmmn_reference.npz")
    return Reference(request.getfixturevalue("parity_folder") / "hmmn.npz")


@pytest.fixture(scope="module")
def results(reference, variables):
    """Everything the reference may have, from one run of the video."""
    assert int(reference["seed"]) == SEED
    assert int(reference["mem_every"]) == METHOD.config.mem_every
    frames, first_mask = reference["frames"], reference["first_mask"]
    one_hot = first_mask == np.arange(OBJECTS + 1)[:, None, None]
    probs = jnp.asarray(one_hot, jnp.float32)
    memory = METHOD.init_memory(*first_mask.shape, OBJECTS, METHOD.slots(len(frames)))
    images = jnp.asarray(frames / np.float32(255))
    found = {"labels": [first_mask], "memory_frames": [[-1] * 4]}
    for t in range(1, len(frames)):
        stages = _step(variables, memory, images[t - 1], probs, t - 1, images[t])
        memory, probs = stages["memory"], stages["probs"]
        found["labels"].append(np.asarray(probs).argmax(0))
        order = _filled_in_order(memory.bank)
        times = np.asarray(memory.bank.time)[order, 0].tolist()
        found["memory_frames"].append([*times, *[-1] * (4 - len(times))])
        found |= {f"t{t}{key}": x for key, x in _decisions(stages, order).items()}
        if t == 1:
            found |= _of_frames(stages)
            found |= {f"f1_{key}": x for key, x in _of_step(stages, order).items()}
        if t == 2:
            found["mem1_in_mask"] = stages["masks"]
            found["mem1_in_others"] = other_objects(stages["masks"])
    found |= {f"last_{key}": x for key, x in _of_step(stages, order).items()}
    return jax.tree.map(np.asarray, found, is_leaf=lambda x: isinstance(x, list))


@jax.jit
def _step(variables, memory, frame, probs, time, next_frame) -> dict[str, Any]:
    """Memorises a frame and segments the next one, keeping what blocks make of it."""
    stages: dict[str, Any] = {}

    def keep(call, args, kwargs, context):
        path = "/".join(context.module.path)
        out = stages[path] = call(*args, **kwargs)
        if path == "memory_encoder":
            stages["masks"] = args[1]
        return out

    everything = jnp.ones(OBJECTS, bool)
    moment = Moment(time, everything, everything & (time == 0), jnp.bool_(False))
    run = METHOD.bind(variables)
    with nn.intercept_methods(keep):
        memory = run.memorize(memory, frame, (), probs, moment)
        query, _ = run.encode(next_frame)
        logits, after = run.segment(memory, query, next_frame, everything)
    _, kernel = run.guide(memory, query)
    wanted = ("query_encoder", "memory_head", "memory_fine_heads", "decoder")
    wanted += ("decoder/compress", "decoder/merge3")
    return {
        **{name: stages[name] for name in (*wanted, "masks")},
        "query": query,
        "kernel": kernel,
        "cells": run.candidates(memory, query, kernel),
        "read": run.read(memory, query, everything),
        "logits": logits,
        "memory": after,
        "probs": jax.nn.softmax(logits, axis=0),
    }


def _filled_in_order(bank):
    """Slots in the released program's order: that of time, the same for all objects."""
    time = np.asarray(bank.time)
    assert (time == time[:, :1]).all()
    return np.array([slot for slot in np.argsort(time[:, 0]) if time[slot, 0] >= 0])


def _decisions(stages, order):
    """Tracks and centres `[O, T * cells]`, candidates `[O, cells, k]`."""

    def flat(cells):
        return jnp.moveaxis(cells[order], 1, 0).reshape(OBJECTS, -1)

    found = {
        "_track": flat(stages["memory"].bank.entries.track),
        "_kernel_centre": flat(stages["kernel"].centre),
    }
    for stage, name in ((3, "_top32"), (2, "_top8")):
        cells = stages["cells"][stage]
        assert cells.usable.all()
        index = cells.index.reshape(OBJECTS, CELLS, -1)
        # The released program has the first frame before the previous one.
        found[name] = jnp.abs(FIRST - index // CELLS) * CELLS + index % CELLS
    return found


def _of_frames(stages):
    query, features = stages["query"], stages["query_encoder"]
    head, fine = stages["memory_head"], stages["memory_fine_heads"]
    return {
        "q_r4": features.res4,
        "q_r3": features.res3,
        "q_r2": features.res2,
        "q_k4": query.key[None],
        "q_v4": query.value[None],
        "q_k3": query.fine_keys[3][None],
        "q_k2": query.fine_keys[2][None],
        "mem0_k4": head.key,
        "mem0_v4": head.value,
        **{f"mem0_k{stage}_obj1": fine[stage].key[0] for stage in (3, 2)},
        **{f"mem0_v{stage}_obj1": fine[stage].value[0] for stage in (3, 2)},
    }


def _of_step(stages, order):
    coarse, fine, _ = stages["read"]
    kernel = jax.tree.map(lambda x: x[order], stages["kernel"])
    logs = jax.vmap(jax.vmap(kernel_log))(*kernel)
    guidance = jnp.exp(jnp.moveaxis(logs, 0, 2)).reshape(OBJECTS, CELLS, -1)
    return {
        "guidance": guidance,
        "attn": _attention(stages, order, kernel),
        "sim": jnp.log(_attention(stages, order, None)),
        "read4_memory": coarse,
        "read3_obj1": fine[3][0],
        "read2_obj1": fine[2][0],
        "read2_obj1_every4": fine[2][0, ..., ::4],
        "dec4": stages["decoder/compress"],
        "dec3_obj1": stages["decoder/merge3"][0],
        "pred2": stages["decoder"],
        "logits": stages["logits"],
        "prob": stages["probs"],
    }


def _attention(stages, order, kernel):
    """Weights `[O, q, N m]` of the filled slots.

    They are what a read of values returns that are each cell's own number.
    """
    key = stages["memory"].bank.entries.key[order]
    slots, objects, height, width, _ = key.shape
    cells = slots * height * width
    numbers = jnp.eye(cells).reshape(slots, 1, height, width, cells)
    value = jnp.broadcast_to(numbers, (slots, objects, height, width, cells))
    filled = jnp.ones((slots, objects), bool)
    weights = _read(stages["query"].key, key, value, filled, kernel)
    return weights.reshape(objects, height * width, cells)


_read = jax.jit(kernel_guided_read)


@pytest.mark.slow
def test_the_name_table_covers_the_released_state_dict(variables, state_dict):
    back = export_state_dict(variables, ENTRY.torch_table(METHOD.config))
    assert_names_cover(back, state_dict, len(SHAPES))


@pytest.mark.slow
def test_the_network_has_as_many_parameters_as_the_released_one(variables):
    sizes = [x.size for x in jax.tree.leaves(variables["params"])]
    assert sum(sizes) == 42_760_194


def test_all_stages_agree_with_the_released_program(reference, results):
    compared = {
        key
        for key in reference.results - {"labels", "memory_frames"}
        if not key.endswith(DECISIONS)
    }
    assert compared <= results.keys()
    assert_stages_agree(reference, results, compared, tolerance)


@pytest.mark.parametrize("t", range(1, 7))
def test_every_cell_goes_where_it_went_in_the_released_program(reference, results, t):
    # The videos have no close decision, so rounding changes none.
    for key in (f"t{t}_track", f"t{t}_kernel_centre"):
        np.testing.assert_array_equal(results[key], reference[key], err_msg=key)


@pytest.mark.parametrize("t", range(1, 7))
def test_the_same_cells_are_candidates(reference, results, t):
    expected = reference[f"t{t}_top32"]
    for found, best in (
        (results[f"t{t}_top32"], expected),
        (results[f"t{t}_top8"], expected[..., :8]),
    ):
        # Their order does not matter, and depends on rounding.
        np.testing.assert_array_equal(np.sort(found, -1), np.sort(best, -1))


def test_the_same_frames_are_read(reference, results):
    np.testing.assert_array_equal(results["memory_frames"], reference["memory_frames"])


def _assert_same_labels(reference, labels):
    differs = labels != reference["labels"]
    # Ties are pixels whose label depends on rounding.
    assert np.mean(differs, axis=(1, 2)).max() <= 5e-4
    assert (np.unique(reference["labels"]) == [0, 1, 2]).all()


def test_labels_agree_except_for_ties(reference, results):
    _assert_same_labels(reference, np.stack(results["labels"]))


@pytest.mark.slow
@pytest.mark.parametrize("read", ["reference", "slots", "blocks"])
def test_a_folded_network_agrees(reference, variables, read):
    model = vos_jax.inference_form(create("hmmn", mem_every=2, read=read), variables)
    frames, first = reference["frames"], reference["first_mask"]
    state = vos_jax.start(*model, frames[0], first)
    labels = [first]
    for frame in frames[1:]:
        state, out = vos_jax.step(*model, state, frame)
        labels.append(out.labels)
    _assert_same_labels(reference, np.stack(labels))
    error = np.abs(np.asarray(out.probs) - reference["last_prob"])
    assert error.max() <= 1e-4
