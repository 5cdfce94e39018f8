"""Where compiled programs may be kept."""

import jax
import pytest

from vos_jax.engine.compilation_cache import use_compilation_cache
from vos_jax.errors import InputError


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """What the tested code sets, without setting it."""
    changed = {}
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    return changed


def test_the_folder_is_private_and_used(tmp_path, settings):
    folder = use_compilation_cache(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert settings["jax_compilation_cache_dir"] == str(folder)
    assert use_compilation_cache(folder) == folder


def test_by_default_it_is_the_users_cache(tmp_path, monkeypatch, settings):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert use_compilation_cache() == tmp_path / "vos_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert use_compilation_cache() == tmp_path / ".cache" / "vos_jax"


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path, mode, settings):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(InputError, match="others may write to it") as caught:
        use_compilation_cache(folder)
    assert str(folder) in str(caught.value)
    assert not settings


def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch, settings):
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InputError, match="make it your own"):
        use_compilation_cache(tmp_path)
    assert not settings


def test_a_file_in_its_place_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be made"):
        use_compilation_cache(tmp_path / "file")
