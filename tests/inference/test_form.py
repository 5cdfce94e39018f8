"""The form that videos are segmented with: what it changes, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.methods.every import narrow, tiny
from vos_jax.convert.tree import flatten
from vos_jax.inference import step as step_module
from vos_jax.inference.capacity import reserve_next
from vos_jax.methods.base import changed
from vos_jax.methods.stcn.model import STCN

SIZE = (32, 48)


@pytest.fixture(scope="module")
def model():
    """Group norms, whose weights are used in float32, and joined kernels."""
    method, variables = tiny("dmn-aoa")
    return method.clone(config=changed(method.config, dtype="bfloat16")), variables


def _logits(model):
    frame = np.random.default_rng(0).random((*SIZE, 3), np.float32)
    masks = np.zeros((1, *SIZE), np.float32)
    masks[0, 8:24, 8:24] = 1
    return jax.jit(model[0].apply)(model[1], frame, masks)


@pytest.mark.slow
def test_weights_are_in_the_compute_type_where_they_are_used_in_no_other(model):
    method, variables = vos_jax.inference_form(*model, platform="cpu")
    types = {path: x.dtype.name for path, x in flatten(variables).items()}
    assert {types[path] for path in types if path[-1] == "kernel"} == {"bfloat16"}
    # Norms are computed in float32, and so are their scales.
    assert {types[path] for path in types if path[-1] == "scale"} == {"float32"}
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), variables)
    found, expected = _logits((method, variables)), _logits((method, wide))
    np.testing.assert_array_equal(found, expected)


def test_kernels_lie_as_the_platform_takes_them_and_back(model):
    cpu = vos_jax.inference_form(*model, platform="cpu")
    gpu = vos_jax.inference_form(*cpu, platform="gpu")
    assert gpu[0].platform == "cuda"
    filters = {x.shape for p, x in flatten(gpu[1]).items() if p[-1] == "filters"}
    assert filters and all(height == width for _, height, width, _ in filters)
    back = vos_jax.inference_form(*gpu, platform="cpu")
    assert back[0] == cpu[0]
    jax.tree.map(np.testing.assert_array_equal, back[1], cpu[1])
    assert vos_jax.inference_form(*gpu) == gpu


def test_an_unknown_platform_is_refused(model):
    with pytest.raises(vos_jax.InputError, match="'metal': use one of cpu, cuda"):
        vos_jax.inference_form(*model, platform="metal")


def test_a_form_that_a_platform_has_not_is_refused():
    method = vos_jax.create("stm", read="pallas")
    with pytest.raises(vos_jax.InputError, match="no kernel for cpu; use 'auto'"):
        vos_jax.inference_form(method, {}, platform="cpu")


# Steps


@pytest.fixture(scope="module")
def stm():
    return vos_jax.inference_form(*tiny("stm"))


def _state(stm, frames=100):
    frame = np.random.default_rng(1).random((*SIZE, 3), np.float32)
    labels = np.zeros(SIZE, np.uint8)
    labels[4:20, 4:30] = 1
    return frame, vos_jax.start(*stm, frame, labels, frames=frames)


def test_a_state_that_is_given_away_is_gone_and_the_result_is_the_same(stm):
    frame, state = _state(stm)
    kept, out = vos_jax.step(*stm, state, frame)
    given, other = vos_jax.step(*stm, state, frame, donate=True)
    jax.tree.map(np.testing.assert_array_equal, (kept, out), (given, other))
    banks = state.memory.bank.entries
    assert all(x.is_deleted() for x in jax.tree.leaves(banks))


def test_without_room_to_grow_nothing_is_asked_of_the_device():
    class Unknown:
        """A number on a device that has not come to it."""

        def __int__(self):
            raise AssertionError("waits for the device")

    method, variables = narrow("rde")
    _, state = _state((method, variables))
    state = state._replace(time=Unknown())
    assert reserve_next(method, state) is state


def test_a_step_is_built_for_the_devices_that_are_there(stm):
    method, variables = tiny("stm")
    frame, state = _state((method, variables))
    before = step_module._step_jitted._cache_size()
    vos_jax.step(method, variables, state, frame)
    vos_jax.step(method.built_for("cpu"), variables, state, frame)
    assert step_module._step_jitted._cache_size() == before + 1


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [True, False])
def test_a_frame_that_is_not_due_leaves_nothing_on_accelerators(keeps):
    """Also where a method writes its banks whether objects are active or not."""

    class Careless(STCN):
        @property
        def keeps_inactive(self):
            return keeps

        def write(self, memory, entry, moment):
            if not keeps:
                moment = moment._replace(active=jnp.ones_like(moment.active))
            return super().write(memory, entry, moment)

    method, variables = tiny("stcn")
    careless = Careless(changed(method.config, mem_every=5))
    model = vos_jax.inference_form(careless, variables, platform="cuda")
    frame, state = _state(model)
    for _ in range(3):
        state, _ = vos_jax.step(*model, state, frame)
    assert np.asarray(state.memory.bank.time).max() == 0
    assert np.asarray(state.memory.bank.time >= 0).sum() == 1
