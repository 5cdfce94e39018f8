"""`benchmarks/device.py`: nothing is lost, what is left out is named, and it runs."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tests.benchmarks.scripts import FOLDER, script

device = script("device")
timing = script("device_timing")


def _run(monkeypatch, folder, makers, *options):
    def jobs(bench, parts):
        for part, needs_s, run in makers:
            yield device.Job(part, f"{part}'s", needs_s, run)

    monkeypatch.setattr(device, "jobs", jobs)
    # What it sets for small programs is not for other tests.
    monkeypatch.setattr(device, "small", timing.full)
    assert device.main(["--small", "--out", str(folder), *options]) == 0
    return json.loads((folder / "device.json").read_text())


def _rows():
    return [device.Ceiling("float32", "highest", 1.0, 2.0)]


def test_the_file_is_whole_after_every_job(monkeypatch, tmp_path):
    seen = []

    def look():
        seen.append(json.loads((tmp_path / "device.json").read_text())["parts"])
        return _rows()

    found = _run(monkeypatch, tmp_path, [("reads", 0, look), ("train", 0, look)])
    assert [list(parts) for parts in seen] == [[], ["reads"]]
    assert list(found["parts"]) == ["reads", "train"]
    assert found["machine"]["jax"] == jax.__version__
    assert not found["skipped"]


def test_what_fails_is_named_and_costs_nothing_else(monkeypatch, tmp_path):
    def fail():
        raise RuntimeError("no memory\nand more")

    found = _run(monkeypatch, tmp_path, [("reads", 0, fail), ("train", 0, _rows)])
    reason = "RuntimeError: no memory"
    assert found["skipped"] == [{"part": "reads", "name": "reads's", "reason": reason}]
    assert list(found["parts"]) == ["train"]


def test_what_takes_longer_than_what_is_left_does_not_begin(monkeypatch, tmp_path):
    makers = [("reads", 90, _rows), ("train", 30, _rows)]
    found = _run(monkeypatch, tmp_path, makers, "--minutes", "1")
    assert list(found["parts"]) == ["train"]
    assert found["skipped"][0]["part"] == "reads"
    assert "it takes 90 s" in found["skipped"][0]["reason"]


def test_products_are_counted_in_loops_and_branches():
    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 5))
    image, kernel = jnp.zeros((1, 8, 8, 2)), jnp.zeros((3, 3, 2, 7))

    def once(a, b):
        return a @ b

    def often(a, b):
        return lax.scan(lambda total, _: (total + jax.jit(once)(a, b), None),
                        jnp.zeros((3, 5)), None, 6)[0]  # fmt: skip

    def either(a, b):
        return lax.cond(a.sum() > 0, often, once, a, b)

    def convolved(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def counted(function, *arguments):
        return timing.matrix_flop(jax.jit(function).trace(*arguments).jaxpr.jaxpr)

    product = 2 * 3 * 4 * 5
    assert counted(once, a, b) == product
    assert counted(often, a, b) == counted(either, a, b) == 6 * product
    assert counted(convolved, image, kernel) == 2 * 8 * 8 * 7 * (3 * 3 * 2)


@pytest.mark.slow
def test_all_of_it_runs_in_small(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, str(FOLDER / "device.py"), "--small", "--minutes", "60"]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, cwd=FOLDER.parent)
    found = json.loads((tmp_path / "device.json").read_text())
    assert set(found["parts"]) == set(device.PARTS)
    assert not found["skipped"]
    rows = [(part, row) for part, rows in found["parts"].items() for row in rows]
    # The one form that is for accelerators alone says so here.
    rows = [
        (part, row)
        for part, row in rows
        if not (row.get("failed") and row.get("form", "").startswith("pallas"))
    ]
    assert not [(part, row) for part, row in rows if row.get("failed")]
    assert all(row["right"] for part, row in rows if part == "correct")
    assert all(row["time_ms"] > 0 for _, row in rows if "time_ms" in row)
