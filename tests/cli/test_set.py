"""`--set`: fields of a method's configuration from the command line."""

import json

import pytest

import vos_jax
from tests.clips import read_masks
from tests.methods.every import narrow
from vos_jax.cli import main
from vos_jax.errors import InputError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A narrow RDE-VOS, with SAM."""
    path = tmp_path_factory.mktemp("weights") / "rde.safetensors"
    vos_jax.save_weights(path, "rde", *narrow("rde"))
    return path


@pytest.fixture
def evaluate(files, weights):
    def run(*changes, method="rde"):
        return main(
            [
                *("evaluate", "--dataset", "davis2017", "--root", str(files / "davis")),
                *("--split", "val", "--method", method, "--weights", str(weights)),
                *("--out", str(files / "out"), "--json", "--top-k", "5"),
                *(word for change in changes for word in ("--set", change)),
            ]
        )

    return run


@pytest.fixture
def segment(files, weights):
    def run(*more):
        return main(
            [
                *("segment", str(files / "frames"), "--mask", str(files / "first.png")),
                *("--method", "rde", "--weights", str(weights)),
                *("--out", str(files / "out"), *more),
            ]
        )

    return run


@pytest.mark.slow
def test_a_strategy_is_evaluated_without_sam(evaluate, files, capsys):
    assert evaluate("first=1", "latest=False", "recurrent=False") == 0
    assert 0 <= json.loads(capsys.readouterr().out)["J&F-Mean"] <= 1
    run = json.loads((files / "out" / "masks" / "run.json").read_text())
    for field in ("first=1", "latest=False", "recurrent=False", "top_k=5"):
        assert field in run["method"]


def test_a_run_goes_on_with_the_same_settings_only(evaluate, files, capsys):
    assert evaluate("first=1") == 0
    assert evaluate("first=1") == 0
    capsys.readouterr()
    assert evaluate("first=2") == 2
    err = capsys.readouterr().err
    assert "holds masks made with another method; use another --out" in err
    assert err.count("\n") == 1


def test_settings_change_the_masks_and_a_resumed_run_notices(segment, files, capsys):
    assert segment("--set", "mem_every=1") == 0
    before = read_masks(files / "out" / "masks")
    assert segment("--set", "mem_every=1", "--resume") == 0
    capsys.readouterr()
    assert segment("--set", "first=0", "--resume") == 2
    assert "of a run with other settings" in capsys.readouterr().err
    assert segment("--set=mem_every=1", "--set=latest=False", "--set=first=0") == 0
    after = read_masks(files / "out" / "masks")
    assert any((after[name] != before[name]).any() for name in before)


def test_a_run_goes_on_in_the_same_type_and_precision_only(segment, capsys):
    assert segment("--precision", "high") == 0
    assert segment("--set", "precision=high", "--set", "dtype=float32", "--resume") == 0
    for other in (("--dtype", "bfloat16", "--precision", "high"), ()):
        capsys.readouterr()
        assert segment(*other, "--resume") == 2
        assert "of a run with other settings" in capsys.readouterr().err


def test_a_type_or_precision_is_given_once(segment, capsys):
    for name, value in (("dtype", "float32"), ("precision", "high")):
        assert segment(f"--{name}", value, "--set", f"{name}={value}") == 2
        assert f"{name} is given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "words", "expected"),
    [
        ("cpu", [], ("float32", "highest")),
        ("gpu", [], ("bfloat16", "default")),
        ("gpu", ["--dtype", "float32"], ("float32", "highest")),
        ("tpu", ["--set", "dtype=float32"], ("float32", "highest")),
        ("tpu", ["--precision", "high"], ("bfloat16", "high")),
    ],
)
def test_the_demo_computes_in_what_suits_the_machine(
    platform, words, expected, monkeypatch, capsys
):
    def stop(method, *_, **__):
        raise InputError(f"{method.config.dtype} {method.config.precision}")

    monkeypatch.setattr("jax.default_backend", lambda: platform)
    monkeypatch.setattr("vos_jax.inference.demo.run_demo", stop)
    assert main(["demo", "--no-compilation-cache", *words]) == 2
    assert capsys.readouterr().err.strip().endswith(" ".join(expected))


@pytest.mark.slow
def test_stcn_is_evaluated_with_weights_of_rde(evaluate, capsys):
    assert evaluate("mem_every=2", "mem_capacity=None", method="stcn") == 0
    assert 0 <= json.loads(capsys.readouterr().out)["J&F-Mean"] <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("firsts=1", "method 'rde' has no option firsts; it has: backbone, "),
        ("key_dim=4", "rde.safetensors: its weights are for key_dim=8; leave"),
        ("folded=True", "its weights are for folded=False; leave that option out"),
        ("first=3", "method 'rde': first=3: use 0, 1 or 2"),
        ("first=one", "method 'rde': first='one': use a whole number"),
        ("first=True", "method 'rde': first=True: use a whole number"),
        ("mem_every=2.5", "method 'rde': mem_every=2.5: use a whole number"),
        ("mem_capacity=all", "mem_capacity='all': use a whole number, or None"),
        ("recurrent=no", "method 'rde': recurrent='no': use True or False"),
        ("latest=no", "method 'rde': latest='no': use 0, 1 or 2, True or False"),
        ("dtype=int8", "method 'rde': dtype='int8': use 'float32' or 'bfloat16'"),
        (
            "precision=low",
            "method 'rde': precision='low': use 'highest', 'high' or 'default'",
        ),
        ("backbone=resnet", "its weights are for backbone={"),
        ("top_k=7", "--set top_k=7: top_k is given twice; give it once"),
        ("first", "--set first: write field=value"),
        ("=1", "--set =1: write field=value"),
    ],
)
def test_what_cannot_be_set_is_told_in_one_line(change, message, evaluate, capsys):
    assert evaluate(change) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vos-jax: error: ")
    assert err.count("\n") == 1
    assert message in err
