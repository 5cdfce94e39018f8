"""Where compiled programs may be kept."""

import jax
import pytest

from vos_jax.errors import InputError, InputWarning
from vos_jax.runtime.compilation_cache import (
    cache_folder,
    keep_programs,
    use_compilation_cache,
)


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """What the tested code sets, without setting it."""
    changed = {}
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    return changed


def test_the_folder_is_private_and_used(tmp_path, settings):
    folder = tmp_path / "a" / "b"
    use_compilation_cache(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert settings["jax_compilation_cache_dir"] == str(folder)
    use_compilation_cache(folder)


def test_it_does_not_grow_without_bound(tmp_path, settings):
    use_compilation_cache(tmp_path / "programs")
    assert 0 < settings["jax_compilation_cache_max_size"] <= 1 << 30


def test_by_default_it_is_the_users_cache(tmp_path, monkeypatch, settings):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vos_jax"
    keep_programs()
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / "vos_jax")
    assert (tmp_path / "vos_jax").stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "vos_jax"


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(
    tmp_path, mode, monkeypatch, settings
):
    folder = tmp_path / "vos_jax"
    folder.mkdir()
    folder.chmod(mode)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for use in (keep_programs, lambda: use_compilation_cache(folder)):
        with pytest.raises(InputError, match="others may write to it") as caught:
            use()
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


def test_a_user_without_a_place_is_told_and_goes_on(tmp_path, monkeypatch, settings):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(InputWarning, match="not kept for the next run: Not a directory"):
        keep_programs()
    assert not settings
