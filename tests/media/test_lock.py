"""One process at a time in a folder."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from vos_jax.errors import InputError
from vos_jax.media.lock import lock_folder

HOLD = """
import sys
from vos_jax.media.lock import lock_folder
with lock_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_until_the_first_one_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another process is writing into it"):
            with lock_folder(tmp_path):
                pass
    finally:
        holder.kill()
        holder.communicate()
    with lock_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), lock_folder(tmp_path / "new"):
        raise KeyError
    with lock_folder(tmp_path / "new"):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def none(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with lock_folder(tmp_path), lock_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be made"):
        with lock_folder(tmp_path / "file"):
            pass
