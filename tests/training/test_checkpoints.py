"""Checkpoints on disk."""

import asyncio
import errno
import gc
import logging
import resource
import shutil
import threading
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vos_jax.errors import InputError
from vos_jax.training.checkpoints import SCORE, Checkpoints
from vos_jax.training.quiet_readers import quiet_readers


class State(NamedTuple):
    step: Any
    params: Any
    opt_state: Any
    average: Any


@pytest.fixture
def state():
    params = {"a": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "b": jnp.ones(4)}
    half = jnp.full(3, 0.1, jnp.bfloat16)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return State(jnp.int32(7), params | {"half": half}, optimizer.init(params), None)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_state_comes_back_bit_by_bit(tmp_path, state):
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(7, state)
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.latest == 7
        zeros = jax.tree.map(jnp.zeros_like, state)
        assert_same(checkpoints.restore(zeros), state)


def test_a_state_may_be_given_away_right_after_saving(tmp_path, state):
    big = {"x": jnp.arange(300_000.0)}
    add = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(3):
            checkpoints.save(step, big)
            big = add(big)
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(3):
            found = checkpoints.restore(big, step)["x"]
            np.testing.assert_array_equal(found, np.arange(300_000.0) + step)


def test_the_newest_and_the_best_stay(tmp_path, state):
    scores = {1: 0.2, 2: 0.9, 3: 0.5, 4: None, 5: 0.6, 6: None, 7: None}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state, score and {SCORE: score, "J": 0.1})
        checkpoints.wait()
        assert checkpoints.steps == (2, 6, 7)
        assert checkpoints.best == 2


def test_saving_a_step_twice_keeps_the_first(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
        checkpoints.save(7, state._replace(step=jnp.int32(8)))
        checkpoints.wait()
        assert checkpoints.restore(state).step == 7


def test_what_a_killed_run_left_half_written_is_not_seen(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
        checkpoints.wait()
        shutil.copytree(
            tmp_path / "step_7", tmp_path / "step_8.orbax-checkpoint-tmp-123"
        )
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == (7,)
        checkpoints.save(8, state)
        checkpoints.wait()
        assert checkpoints.steps == (7, 8)


def test_a_damaged_checkpoint_is_named_with_the_one_before(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
        checkpoints.save(9, state)
        checkpoints.wait()
        for file in (tmp_path / "step_9").rglob("*"):
            if file.is_file() and "d" in file.parts[-2]:
                file.write_bytes(file.read_bytes()[:10])
        with pytest.raises(InputError, match=r"step_9: cannot .*from step 7") as caught:
            checkpoints.restore(state)
        assert "\n" not in str(caught.value)
        assert_same(checkpoints.restore(state, 7), state)


def cut(step):
    for file in (step / "default").rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwrite(step):
    for file in (step / "default").rglob("d/*"):
        file.write_bytes(bytes(file.stat().st_size))


def flip(step):
    """One bit, which decompression takes for another value."""
    file = max((step / "default").rglob("d/*"), key=lambda x: x.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    file.write_bytes(content)


DAMAGES = {
    "a flipped bit": flip,
    "a name that is gone": lambda step: (step / "default/_sharding").unlink(),
    "checksums of nonsense": lambda step: (step / "default/checksums.json").write_text(
        "[1"
    ),
    "files cut in the middle": cut,
    "files of zeros": overwrite,
    "no files": lambda step: [x.unlink() for x in (step / "default").rglob("d/*")],
    "no list of files": lambda step: (step / "default/manifest.ocdbt").unlink(),
    "a list of nonsense": lambda step: (step / "default/manifest.ocdbt").write_bytes(
        b"x" * 99
    ),
    "half the metadata": lambda step: (step / "default/_METADATA").write_text('{"a'),
    "nothing": lambda step: [shutil.rmtree(step), step.mkdir()],
}


# A second each; these are the first that anybody would think of.
OFTEN = ("a flipped bit", "files cut in the middle", "nothing")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(x, id=name, marks=[] if name in OFTEN else pytest.mark.slow)
        for name, x in DAMAGES.items()
    ],
)
def test_damage_of_any_kind_is_one_short_line_and_nothing_else(
    tmp_path, damage, monkeypatch, caplog, capfd
):
    # Noise is stored as it is, so that nothing but a checksum sees a flipped bit.
    noise = jnp.asarray(np.random.default_rng(0).random((30, 60, 70), np.float32))
    many = {str(i): x for i, x in enumerate(noise)}
    whole = {"params": many, "batch_stats": {}, "average": None}
    unheard: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", unheard.append)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, whole)
        checkpoints.save(9, whole)
        checkpoints.wait()
    damage(tmp_path / "step_9")
    with Checkpoints(tmp_path) as checkpoints:
        reads = (checkpoints.restore, whole), (checkpoints.read_variables, 9)
        for read, argument in reads:
            with pytest.raises(InputError, match=r"step_9: cannot .* step 7") as caught:
                read(argument)
            message = str(caught.value)
            assert "\n" not in message
            assert len(message) < 220 + len(str(tmp_path))
            del caught
    gc.collect()
    # What threads have to say, they say soon.
    time.sleep(0.2)
    assert not unheard
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_other_threads_are_heard_while_a_checkpoint_is_read(caplog):
    async def fail():
        raise ValueError("of another thread")

    async def forget():
        task = asyncio.ensure_future(fail())
        del task
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def elsewhere():
        logging.getLogger("absl").error("said elsewhere")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(forget())
        loop.close()
        gc.collect()

    before = asyncio.new_event_loop
    with quiet_readers():
        logging.getLogger("absl").error("said here")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert asyncio.new_event_loop is before
    logging.getLogger("absl").error("said afterwards")
    assert "said elsewhere" in caplog.text
    assert "of another thread" in caplog.text
    assert "said afterwards" in caplog.text
    assert "said here" not in caplog.text


def test_no_memory_to_restore_with_is_no_damage(tmp_path, state, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
        checkpoints.wait()

        def short(*args, **options):
            raise Exception("while reading array 0") from MemoryError()

        monkeypatch.setattr(checkpoints._manager, "restore", short)
        with pytest.raises(Exception, match="while reading array 0"):
            checkpoints.restore(state)


def test_other_shapes_and_no_checkpoint_are_refused(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(InputError, match="holds no checkpoint"):
            checkpoints.restore(state)
        checkpoints.save(7, state)
        checkpoints.wait()
        other = state._replace(params=state.params | {"b": jnp.ones(5)})
        with pytest.raises(InputError, match="cannot be restored"):
            checkpoints.restore(other)


def test_a_full_disk_is_told_and_earlier_checkpoints_stay(tmp_path, state, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
        checkpoints.wait()

        def full(*args, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(InputError, match=r"No space left .*step 7 is whole; free"):
            checkpoints.save(8, state)
        monkeypatch.undo()
        assert_same(checkpoints.restore(state), state)


@pytest.mark.parametrize("saves", [1, 2])
def test_files_that_cannot_grow_are_told_and_earlier_checkpoints_stay(tmp_path, saves):
    """As on a full disk, where the writing fails in the background."""
    noise = np.random.default_rng(0).random(300_000, np.float32)
    big = {"x": jnp.asarray(noise)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(InputError, match=r"step 7 is whole; free some") as caught:
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(7, big)
            checkpoints.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            try:
                for step in range(8, 8 + saves):
                    checkpoints.save(step, big)
                checkpoints.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == (7,)
        np.testing.assert_array_equal(checkpoints.restore(big)["x"], noise)
        checkpoints.save(8, big)
        checkpoints.wait()
        assert checkpoints.steps == (7, 8)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="run: is a file"):
        Checkpoints(tmp_path / "run")


def test_reading_changes_nothing(tmp_path, state):
    with pytest.raises(InputError, match="run: no such folder"):
        Checkpoints(tmp_path / "run", read_only=True)
    assert not (tmp_path / "run").exists()
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(4):
            checkpoints.save(step, state, {SCORE: -step})
    shutil.copytree(tmp_path / "step_3", tmp_path / "step_9.orbax-checkpoint-tmp-1")
    before = sorted(tmp_path.rglob("*"))
    with Checkpoints(tmp_path, keep=1, read_only=True) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (3, 0)
        assert_same(checkpoints.restore(state), state)
    assert sorted(tmp_path.rglob("*")) == before


def test_keeping_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="keep=0"):
        Checkpoints(tmp_path, keep=0)
