import os
from pathlib import Path

import pytest

from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path


def test_the_file_appears_only_at_the_end(tmp_path: Path):
    path = tmp_path / "a.bin"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == tmp_path and temporary.name.endswith(".tmp")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_os_error_names_the_file_and_a_remedy(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(InputError, match=r"a\.bin: Not a directory; check that"),
        atomic_path(tmp_path / "file" / "a.bin") as temporary,
    ):
        temporary.write_text("new")
