"""The file that an interrupted run leaves."""

import io
import json
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from vos_jax.errors import InputError
from vos_jax.inference import resume

RUN = {"method": "m", "size": None, "masks": {"0": 17}}


@pytest.fixture
def views(clip):
    method = vos_jax.create("stm-tiny", key_dim=4, value_dim=4, dtype="bfloat16")
    memory = method.init_memory(32, 48, 2, 3)
    entries = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(1), x.shape, x.dtype),
        memory.bank.entries,
    )
    bank = memory.bank._replace(entries=entries, kept=jnp.int32(5))
    return (memory._replace(bank=bank), {"probs": jnp.array([0.1, jnp.nan, jnp.inf])})


def test_a_saved_state_comes_back_bit_by_bit(tmp_path, views):
    path = tmp_path / "state.npz"
    resume.save(path, 7, views, RUN)
    saved = resume.load(path, RUN)
    assert (saved.position, saved.views) == (7, 2)
    expected = jax.tree.leaves(views)
    assert jnp.dtype(jnp.bfloat16) in {x.dtype for x in expected}
    for found, leaf in zip(saved.leaves, expected, strict=True):
        assert (found.dtype, found.shape) == (leaf.dtype, leaf.shape)
        assert np.asarray(found).tobytes() == np.asarray(leaf).tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("change", [{"size": 480}, {"masks": {"0": 18}}, {"new": 1}])
def test_a_run_with_other_settings_is_refused(tmp_path, views, change):
    path = tmp_path / "state.npz"
    resume.save(path, 7, views, RUN)
    message = f"other settings .{next(iter(change))}=.*without --resume"
    with pytest.raises(InputError, match=message) as caught:
        resume.load(path, RUN | change)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_format_is_refused(tmp_path, views, monkeypatch):
    path = tmp_path / "state.npz"
    resume.save(path, 7, views, RUN)
    monkeypatch.setattr(resume, "_FORMAT", 2)
    with pytest.raises(InputError, match="another version of this program; run with"):
        resume.load(path, RUN)


def _without_header(content: bytes) -> bytes:
    return _repacked(content, lambda name, data: None if "header" in name else data)


def _header_of(text: str):
    def change(content: bytes) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, np.array(text))
        return _repacked(
            content, lambda name, data: buffer.getvalue() if "header" in name else data
        )

    return change


def _repacked(content: bytes, change) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w") as new,
    ):
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return buffer.getvalue()


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    flipped = bytes(x ^ 255 for x in content[middle : middle + 64])
    return content[:middle] + flipped + content[middle + 64 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"PK\x03\x04",
        lambda content: b"something else",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        _flipped,
        _without_header,
        _header_of("{"),
        _header_of("[]"),
        _header_of(json.dumps({"position": 1, "run": RUN, "views": 1})),
        _header_of(
            json.dumps(
                {"position": 1, "run": 3, "views": 1, "leaves": [["float32", [9]]]}
            )
        ),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, views, damage):
    path = tmp_path / "state.npz"
    resume.save(path, 7, views, RUN)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged; remove it")):
        resume.load(path, RUN)
