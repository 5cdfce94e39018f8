"""LCM against an independent program in float64, module by module and as a whole.

Its authors released none. Weights are those of `tests.fill`, frames are generated.
"""

import json
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.fill import fill_all
from tests.methods.parity import assert_names_cover
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.methods import METHODS, create
from vos_jax.methods.lcm.blocks import ObjectRelation, PositionGuidance
from vos_jax.methods.weights import variable_shapes
from vos_jax.ops.memory_bank import Moment
from vos_jax.ops.object_relation import cell_set, foreground_cells, gather_matrix
from vos_jax.ops.position_code import position_code
from vos_jax.ops.position_map import response
from vos_jax.ops.read import space_time_read

HERE = Path(__file__).parent
SHAPES = json.loads((HERE / "lcm_state_dict.json").read_text())
METHOD = create("lcm")
ENTRY = METHODS["lcm"]
OBJECTS, FRAMES = 2, 5
MODULE, WHOLE, LOGITS = 1e-5, 2e-5, 5e-5
"""Ten times the distance of the same program in float32, over the largest value."""


@pytest.fixture(scope="module")
def reference():
    with np.load(HERE / "lcm_reference.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def state_dict():
    return fill_all(SHAPES)


@pytest.fixture(scope="module")
def variables(state_dict):
    table, shapes = ENTRY.torch_table(METHOD.config), variable_shapes(METHOD)
    tree = convert_state_dict(state_dict, table, shapes, ENTRY.torch_ignored)
    return jax.device_put(tree)


def _assert_near(found, expected, largest=MODULE):
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= largest * np.abs(expected).max()


def _last(array):
    """Channels from before rows and columns to the end."""
    return np.moveaxis(array, -3, -1)


def _module(variables, name):
    """The parameters of a block of the network."""
    return {"params": variables["params"][name]}


def test_the_name_table_covers_the_state_dict(variables, state_dict):
    back = export_state_dict(variables, ENTRY.torch_table(METHOD.config))
    assert_names_cover(back, state_dict, len(SHAPES))


@pytest.mark.parametrize("grid", [(8, 14), (5, 9), (6, 9)])
def test_position_codes_agree(reference, grid):
    expected = _last(reference["pos/{}x{}".format(*grid)])
    assert np.abs(np.asarray(position_code(*grid, 128)) - expected).max() <= 1e-6


@pytest.mark.parametrize("case", ["pgm", "pgm_small"])
@pytest.mark.parametrize("read", ["reference", "slots", "blocks"])
def test_the_position_guidance_module_agrees(reference, variables, case, read):
    own = {key.split("/")[1]: x for key, x in reference.items() if f"{case}/" in key}
    query, memory = _last(own["key_q"]), _last(own["key_m"])
    module = PositionGuidance(read=read)
    likely = module.apply(
        _module(variables, "position_guidance"), query, memory, own["coverage"]
    )
    _assert_near(likely, own["map"])
    _assert_near(likely[..., None] * _last(own["value_q"])[None], _last(own["y"]))


def test_responses_of_places_agree(reference, variables):
    own = {key: reference[f"pgm/{key}"] for key in ("key_q", "key_m", "coverage", "S")}
    code = position_code(6, 9, 128)
    project = _module(variables, "position_guidance")["params"]["project"]

    def place(key):
        moved = jnp.asarray(_last(key) + code).reshape(-1, 128)
        return (
            jnp.matmul(moved, project["kernel"][0, 0], precision="highest")
            + project["bias"][None]
        )

    query = place(own["key_q"])
    for key, coverage, expected in zip(
        own["key_m"], own["coverage"], own["S"], strict=True
    ):
        found = response(query, place(key), jnp.asarray(coverage.reshape(-1)))
        _assert_near(found.T, expected)


def test_the_object_relation_module_agrees(reference, variables):
    own = {key.split("/")[1]: x for key, x in reference.items() if "orm/" in key}
    value, first = jnp.asarray(_last(own["value_q"])), _last(own["value_f"])
    chosen = foreground_cells(jnp.asarray(own["coverage"]))
    np.testing.assert_array_equal(chosen, own["select"])
    cells = cell_set(jnp.asarray(first), chosen)
    block = _module(variables, "object_relation")
    kernel, bias = block["params"]["kernel"][0, 0], block["params"]["bias"]

    def gather(cells, x):
        matrix = gather_matrix(cells, kernel, bias)
        found = jnp.einsum("...ij,...nj->...ni", matrix, x, precision="highest")
        return (x + found).swapaxes(-1, -2)

    flat = value.reshape(1, -1, 512)
    _assert_near(gather(cells, flat), own["new_q"])
    frame = cell_set(value[None], jnp.ones((1, 6, 9), bool))
    objects = (first * np.asarray(chosen)[..., None]).reshape(3, -1, 512)
    _assert_near(gather(frame, jnp.asarray(objects)), own["new_f"])
    found, state = ObjectRelation().apply(
        block, cells, value, capture_intermediates=True, mutable=["intermediates"]
    )
    logits = state["intermediates"]["open"]["__call__"][0]
    _assert_near(jax.nn.sigmoid(logits), own["weight"])
    _assert_near(found, _last(own["y"]))


def test_the_global_retrieval_module_agrees(reference):
    own = {key.split("/")[1]: x for key, x in reference.items() if "grm/" in key}
    # [O, C, T, h, w] to [T, O, h, w, C].
    memory = (own[key].transpose(2, 0, 3, 4, 1) for key in ("key_m", "value_m"))
    filled = jnp.ones((3, 2), bool)
    found = space_time_read(_last(own["key_q"]), *map(jnp.asarray, memory), filled)
    _assert_near(found, _last(own["y"]))


@partial(jax.jit, static_argnums=0)
def _memorize(method, variables, memory, frame, probs, time):
    everything = jnp.ones(OBJECTS, bool)
    moment = Moment(time, everything, everything & (time == 0), jnp.bool_(False))
    return method.apply(variables, memory, frame, (), probs, moment, method="memorize")


@partial(jax.jit, static_argnums=0)
def _segment(method, variables, memory, frame):
    """Logits, and what the modules made of the frame."""
    stages = {}

    def keep(call, args, kwargs, context):
        out = call(*args, **kwargs)
        name = context.module.name
        if name == "decoder":
            stages["read"] = args[0]
        elif name == "position_guidance":
            stages["map"] = out
        return out

    run = method.bind(variables)
    with nn.intercept_methods(keep):
        query, _ = run.encode(frame)
        out = run.segment(memory, query, frame, jnp.ones(OBJECTS, bool))
    return out.logits, query, stages


def _run(reference, variables, every, given=None):
    """Labels and logits of all frames; the memory and the stages of the first step."""
    first = reference["full/first_label"]
    one_hot = first == np.arange(OBJECTS + 1)[:, None, None]
    probs = jnp.asarray(one_hot, jnp.float32)
    frames = jnp.asarray(reference["full/frames"] / np.float32(255))
    policy = create("lcm", mem_every=every)
    # As many slots for every policy: reading is compiled once.
    memory = METHOD.init_memory(*first.shape, OBJECTS, 4)
    labels, logits, begun = [first], [], None
    for t in range(1, FRAMES):
        memory = _memorize(policy, variables, memory, frames[t - 1], probs, t - 1)
        found, *stages = _segment(METHOD, variables, memory, frames[t])
        begun = begun or (memory, *stages)
        labels.append(np.asarray(found.argmax(0)))
        logits.append(np.asarray(found))
        probs = jax.nn.softmax(found, axis=0)
        if given is not None:
            background = jnp.clip(1 - given[t].sum(0, keepdims=True), 0)
            probs = jnp.concatenate([background, given[t]])
    return np.stack(labels), logits, begun


def _assert_same_labels(found, expected):
    assert (np.unique(expected) == [0, 1, 2]).all()
    # Ties are pixels whose label depends on rounding.
    assert np.mean(found != expected, axis=(1, 2)).max() <= 5e-4


@pytest.fixture(scope="module")
def every_second(reference, variables):
    return _run(reference, variables, every=2)


@pytest.mark.slow
def test_all_stages_of_a_frame_agree(reference, every_second):
    memory, query, stages = every_second[2]
    entry, place = memory.bank.entries, memory.previous.entries
    slot = int(np.flatnonzero(np.asarray(memory.bank.time)[:, 0] == 0)[0])
    for name, found in {
        "memory0/key": entry.key[slot],
        "memory0/value": entry.value[slot],
        "memory0/local": place.key[0],
        "query1/value": query.value,
        "query1/local": query.local,
    }.items():
        _assert_near(found, _last(reference[f"full/{name}"]))
    _assert_near(place.coverage[0], reference["full/memory0/coverage"], 1e-6)
    _assert_near(stages["map"], reference["full/position_map1"], WHOLE)
    _assert_near(stages["read"], _last(reference["full/decoder_input1"]), WHOLE)
    _assert_near(every_second[1][0], reference["full/logit1"], LOGITS)


@pytest.mark.slow
def test_labels_agree_except_for_ties(reference, every_second):
    _assert_same_labels(every_second[0], reference["full/every2_labels"])


@pytest.mark.slow
def test_labels_of_the_published_policy_agree_except_for_ties(reference, variables):
    labels, _, _ = _run(reference, variables, METHOD.config.mem_every)
    _assert_same_labels(labels, reference["full/free_labels"])


@pytest.mark.slow
def test_a_run_with_given_masks_agrees(reference, variables):
    given = reference["full/forced_masks"]
    assert not (given[2, 1] > 0).any()
    labels, logits, _ = _run(reference, variables, 2, given)
    _assert_same_labels(labels, reference["full/forced_labels"])
    _assert_near(logits[-1], reference["full/forced_logit_last"], LOGITS)


@pytest.mark.slow
@pytest.mark.parametrize("modules", ["grm", "grm_pgm", "grm_orm", "pgm_orm"])
def test_networks_without_some_modules_agree(reference, variables, modules):
    use = {f"use_{name}": name in modules.split("_") for name in ("grm", "pgm", "orm")}
    state = vos_jax.start(
        create("lcm", **use),
        variables,
        reference["full/frames"][0],
        reference["full/first_label"],
    )
    _, out = vos_jax.step(
        create("lcm", **use), variables, state, reference["full/frames"][1]
    )
    _assert_near(out.logits, reference[f"ablation/{modules}_logit1"], LOGITS)


@pytest.mark.slow
@pytest.mark.parametrize("read", ["reference", "slots", "blocks"])
def test_a_folded_network_agrees(reference, variables, read):
    model = vos_jax.inference_form(create("lcm", read=read), variables)
    frames, first = reference["full/frames"], reference["full/first_label"]
    state, labels = vos_jax.start(*model, frames[0], first), [first]
    for frame in frames[1:]:
        state, out = vos_jax.step(*model, state, frame)
        labels.append(np.asarray(out.labels))
        if len(labels) == 2:
            _assert_near(out.logits, reference["full/logit1"], LOGITS)
    _assert_same_labels(np.stack(labels), reference["full/free_labels"])
