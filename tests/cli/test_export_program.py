"""`vos-jax export-program` as users type it."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import vos_jax
from vos_jax.cli import main, names
from vos_jax.inference.programs.kinds import KINDS


def test_help_names_every_kind() -> None:
    assert tuple(KINDS) == names.PROGRAMS


def test_a_start_is_written_and_runs(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "start"
    options = [
        "--what",
        "start",
        "--size",
        "32",
        "48",
        "--objects",
        "1",
        "--frames",
        "9",
    ]
    command = ["export-program", "stm-tiny", *options, "--out", str(path), "--json"]
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == {
        "written": str(path),
        "bytes": path.stat().st_size,
        "platforms": "cpu",
        "open": "nothing",
    }
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    labels = np.zeros((32, 48), np.uint8)
    labels[4:20, 8:30] = 5
    frame = np.zeros((32, 48, 3), np.uint8)
    state = program.call(frame, labels, np.array([5], np.int32))
    expected = vos_jax.start(*vos_jax.load_model("stm-tiny"), frame, labels, frames=9)
    np.testing.assert_array_equal(state["probs"], expected.probs)
    bank = expected.memory.bank
    assert state["memory"]["bank"]["time"].shape == (3, 1)
    assert bank.time.shape[1] == 1
    described = json.loads(Path(f"{path}.json").read_text())
    assert described["method"] == "stm-tiny"
    assert described["configuration"]["platform"] == "cpu"


def test_accelerators_compute_in_their_own_types(tmp_path: Path) -> None:
    path = tmp_path / "start"
    sizes = ["--what", "start", "--size", "32", "48", "--out", str(path)]
    for platforms, dtype in ((["tpu"], "bfloat16"), (["cpu", "tpu"], "float32")):
        given = [x for name in platforms for x in ("--platform", name)]
        assert main(["export-program", "stm-tiny", *sizes, *given]) == 0
        described = json.loads(Path(f"{path}.json").read_text())
        assert described["platforms"] == platforms
        assert described["configuration"]["dtype"] == dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--platform", "abacus"], "platform 'abacus'"),
        (["--size", "4", "48"], "size=4"),
        (["--objects", "0"], "--objects 0"),
    ],
)
def test_bad_options_are_one_line_and_exit_with_2(
    options: list[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    command = ["export-program", "stm-tiny", "--out", str(tmp_path / "x"), *options]
    assert main(command) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said
    assert not list(tmp_path.iterdir())
