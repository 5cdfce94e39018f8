"""Exported programs: what they find, what they take, and what is said of bad ones."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import export

import vos_jax
from tests.by_default import by_default
from tests.methods.every import NARROW, tiny
from vos_jax.inference.programs.plain import from_plain, to_plain
from vos_jax.methods.base import Method

SIZE = (32, 48)
FRAMES = 5
METHODS = [name for name in NARROW if not name.endswith(".py")]
Model = tuple[Method, Mapping[str, Any]]


def video(size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and two objects of ids 3 and 1."""
    frames = np.random.default_rng(1).integers(0, 256, (FRAMES, *size, 3), np.uint8)
    labels = np.zeros(size, np.uint8)
    labels[4:16, 4:20], labels[14:28, 24:44], labels[:2] = 3, 1, 255
    return frames, labels


def plain_call(path: Path) -> Any:
    """The program as whoever has JAX alone runs it."""
    return jax.jit(export.deserialize(bytearray(path.read_bytes())).call)


def steps_of(model: Model, frames: np.ndarray, labels: np.ndarray) -> list[Any]:
    """State and output of each frame, by the package."""
    model = vos_jax.inference_form(*model, platform="cpu")
    state, found = vos_jax.start(*model, frames[0], labels, frames=FRAMES), []
    inputs = example(model[0], labels.shape)
    for frame in frames[1:]:
        state, out = vos_jax.step(*model, state, frame, inputs)
        found.append((state, out))
    return found


def example(method: Method, size: tuple[int, ...]) -> Any:
    return None if method.inputs is None else method.inputs.example((size[0], size[1]))


def assert_same(found: Any, expected: Any) -> None:
    """To the last bit."""
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.fixture(scope="module")
def stm() -> Model:
    return tiny("stm")


@pytest.fixture(scope="module")
def folder(stm: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start and a step of STM for frames of one size, the rest open."""
    folder = tmp_path_factory.mktemp("programs")
    for what in ("start", "step"):
        vos_jax.export_program(*stm, folder / what, what, size=SIZE)
    return folder


@pytest.mark.parametrize("name", by_default(METHODS, {"stm"}))
def test_programs_of_fixed_sizes_find_what_the_package_finds(
    name: str, tmp_path: Path
) -> None:
    model = tiny(name)
    frames, labels = video()
    sizes: Any = {"size": SIZE, "objects": 2, "frames": FRAMES}
    for what in ("start", "step", "video"):
        vos_jax.export_program(*model, tmp_path / what, what, **sizes)
    ids = np.array([1, 3], np.int32)
    inputs = to_plain(example(model[0], SIZE))
    given = () if inputs is None else (inputs,)
    state = plain_call(tmp_path / "start")(frames[0], labels, ids)
    step, own = plain_call(tmp_path / "step"), steps_of(model, frames, labels)
    for frame, (expected, out) in zip(frames[1:], own, strict=True):
        state, found = step(state, frame, *given)
        assert_same(state, to_plain(expected))
        assert_same(found["probs"], out.probs)
        assert_same(found["logits"], out.logits)
        assert_same(found["labels"], out.labels)
    together = jax.tree.map(lambda x: np.stack([x] * FRAMES), given)
    found = plain_call(tmp_path / "video")(frames, labels, ids, *together)
    first = np.where(labels == 255, 0, labels)
    assert_same(found, np.stack([first, *(out.labels for _, out in own)]))


def test_a_start_and_a_step_follow_any_objects_in_a_memory_of_any_size(
    stm: Model, folder: Path
) -> None:
    frames, labels = video()
    start, step = plain_call(folder / "start"), plain_call(folder / "step")
    own = vos_jax.inference_form(*stm, platform="cpu")
    for ids in ([3],):
        expected = vos_jax.start(*own, frames[0], labels, ids=ids, frames=100)
        state = start(frames[0], labels, np.array(ids, np.int32))
        for frame in frames[1:3]:
            expected, out = vos_jax.step(*own, expected, frame)
            state, found = step(state, frame)
            np.testing.assert_allclose(found["probs"], out.probs, atol=1e-5)
            assert_same(found["labels"], out.labels)
        assert_same(state["ids"], ids)


@pytest.mark.slow
@pytest.mark.parametrize("name", [x for x in METHODS if x not in ("lcm", "dmn-aoa")])
def test_sizes_that_are_left_open_change_rounding_alone(
    name: str, tmp_path: Path
) -> None:
    model = tiny(name)
    for what in ("start", "step", "video"):
        vos_jax.export_program(*model, tmp_path / what, what)
    start, step = plain_call(tmp_path / "start"), plain_call(tmp_path / "step")
    for size in ((128, 160), (144, 128)):
        frames, labels = video(size)
        ids = np.array([1, 3], np.int32)
        state = start(frames[0], labels, ids)
        whole = plain_call(tmp_path / "video")(frames, labels, ids)
        own = steps_of(model, frames, labels)
        for frame, of_video, (_, out) in zip(frames[1:], whole[1:], own, strict=True):
            state, found = step(state, frame)
            np.testing.assert_allclose(found["probs"], out.probs, atol=1e-4)
            assert (np.asarray(of_video) == out.labels).mean() > 0.999


@pytest.mark.parametrize("platform", by_default(["cuda", "tpu"], {"cuda"}))
@pytest.mark.parametrize("name", by_default(METHODS, {"stm"}))
def test_programs_for_accelerators_are_made_without_one(
    name: str, platform: str, tmp_path: Path
) -> None:
    path = tmp_path / "step"
    sizes: Any = {"size": SIZE, "frames": 20}
    made = vos_jax.export_program(*tiny(name), path, platforms=[platform], **sizes)
    exported = export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == (platform,) == tuple(made["platforms"])
    with pytest.raises(
        vos_jax.InputError, match=rf"is for {platform}, this JAX runs on cpu"
    ):
        vos_jax.load_program(path)


@pytest.mark.parametrize("name", by_default(METHODS, {"stm"}))
def test_one_program_serves_a_cpu_and_a_gpu(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    frames, labels = video()
    path = tmp_path / "step"
    sizes: Any = {"size": SIZE, "objects": 2, "frames": FRAMES}
    vos_jax.export_program(*model, path, platforms=["cpu", "gpu"], **sizes)
    own = vos_jax.inference_form(*model, platform="cpu")
    state = vos_jax.start(*own, frames[0], labels, frames=FRAMES)
    inputs = example(model[0], SIZE)
    given = () if inputs is None else (to_plain(inputs),)
    _, out = vos_jax.step(*own, state, frames[1], inputs)
    _, found = vos_jax.load_program(path)(to_plain(state), frames[1], *given)
    np.testing.assert_allclose(found["probs"], out.probs, atol=1e-5)


def test_weights_may_be_an_argument(stm: Model, tmp_path: Path) -> None:
    frames, labels = video()
    path = tmp_path / "video"
    sizes: Any = {"size": SIZE, "objects": 2, "frames": FRAMES}
    vos_jax.export_program(*stm, path, "video", **sizes, weights="argument")
    weights = dict(np.load(f"{path}.npz"))
    assert path.stat().st_size < sum(x.nbytes for x in weights.values())
    ids = np.array([1, 3], np.int32)
    found = vos_jax.load_program(path)(weights, frames, labels, ids)
    expected = [out.labels for _, out in steps_of(stm, frames, labels)]
    assert_same(found[1:], np.stack(expected))
    zeros = {name: np.zeros_like(x) for name, x in weights.items()}
    other = vos_jax.load_program(path)(zeros, frames, labels, ids)
    assert (np.asarray(other) != np.asarray(found)).any()


@pytest.mark.parametrize("name", by_default(METHODS))
def test_a_read_alone_finds_what_the_method_reads(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    frames, labels = video()
    path = tmp_path / "read"
    sizes: Any = {"size": SIZE, "objects": 2, "frames": FRAMES}
    vos_jax.export_program(*model, path, "read", **sizes)
    own = vos_jax.inference_form(*model, platform="cpu")
    state, _ = steps_of(model, frames, labels)[1]
    query, _ = own[0].apply(own[1], state.frame, method="encode")
    expected = jax.jit(lambda *x: own[0].apply(own[1], *x, method="read"))(
        state.memory, query, state.active
    )
    given = to_plain(state.memory), to_plain(query), np.asarray(state.active)
    found = plain_call(path)(*given)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4, rtol=1e-4),
        *(found, to_plain(expected)),
    )


def test_a_state_that_is_given_away_is_changed_where_it_is(folder: Path) -> None:
    frames, labels = video()
    start = vos_jax.load_program(folder / "start")
    step = vos_jax.load_program(folder / "step")
    state = start(frames[0], labels, np.array([1, 3], np.int32))
    kept, _ = step(state, frames[1])
    gone, _ = step(state, frames[1], donate=True)
    assert_same(kept, gone)
    assert state["memory"]["bank"]["entries"]["key"].is_deleted()
    with pytest.raises(vos_jax.InputError, match="takes no state to give away"):
        start(frames[0], labels, np.array([1, 3], np.int32), donate=True)


def test_the_description_lists_what_the_program_takes_and_returns(
    folder: Path,
) -> None:
    made = json.loads((folder / "step.json").read_text())
    exported = export.deserialize(bytearray((folder / "step").read_bytes()))
    leaves = [leaf for argument in made["arguments"] for leaf in argument["leaves"]]
    for own, avals in (
        (leaves, exported.in_avals),
        (made["results"], exported.out_avals),
    ):
        assert [(x["dtype"], list(map(str, x["shape"]))) for x in own] == [
            (str(aval.dtype), list(map(str, aval.shape))) for aval in avals
        ]
    by_name = {x["name"]: x for x in made["results"]}
    assert by_name["1.labels"]["shape"] == list(SIZE)
    assert by_name["1.probs"]["shape"] == ["O + 1", *SIZE]
    assert made["jax"] == jax.__version__ and made["platforms"] == ["cpu"]
    assert made["symbols"].keys() == {"O", "N"}


# From a Python without this package


ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("vos_jax", "flax", "tests", "einops", "jaxtyping"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import jax, os, numpy as np
from jax import export
given = [dict(np.load("inputs.npz"))] if os.path.exists("inputs.npz") else []
frames = np.load("frames.npy"); labels = np.load("labels.npy")
def load(name):
    return jax.jit(export.deserialize(bytearray(open(name, "rb").read())).call)
state = load("start")(frames[0], labels, np.array([1, 3], np.int32))
state, found = load("step")(state, frames[1], *given)
np.save("found.npy", found["labels"])
assert not any(x.split(".")[0] in ("vos_jax", "flax") for x in sys.modules)
"""


def run_alone(python: str, folder: Path, *options: str) -> None:
    frames, labels = video()
    np.save(folder / "frames.npy", frames)
    np.save(folder / "labels.npy", labels)
    command = [python, *options, "-c", ALONE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_program_runs_where_the_package_cannot_be_imported(
    stm: Model, folder: Path
) -> None:
    run_alone(sys.executable, folder, "-I")
    (_, out), *_ = steps_of(stm, *video())
    assert_same(np.load(folder / "found.npy"), out.labels)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python of an environment with nothing but this JAX and what it needs."""
    folder = tmp_path_factory.mktemp("bare")
    packages = f"jax=={jax.__version__}", f"jaxlib=={version('jaxlib')}", "flatbuffers"
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "-q", *packages]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("no package can be installed here")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_programs_of_every_method_run_with_jax_alone(
    name: str, bare_python: str, tmp_path: Path
) -> None:
    model = tiny(name)
    for what in ("start", "step"):
        vos_jax.export_program(*model, tmp_path / what, what, size=SIZE)
    if (inputs := to_plain(example(model[0], SIZE))) is not None:
        np.savez(tmp_path / "inputs.npz", **inputs)
    run_alone(bare_python, tmp_path)
    (_, out), *_ = steps_of(model, *video())
    assert_same(np.load(tmp_path / "found.npy"), out.labels)


LOADS = """
import sys, numpy as np, vos_jax
vos_jax.load_program(sys.argv[1])
assert not {"flax", "vos_jax.methods", "tensorflow", "torch"} & set(sys.modules)
"""


def test_loading_a_program_loads_no_method(folder: Path) -> None:
    command = [sys.executable, "-c", LOADS, str(folder / "step")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# Bad ones


def copied(folder: Path, target: Path) -> Path:
    for name in ("step", "step.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    return target / "step"


def changed(path: Path, **fields: Any) -> None:
    beside = Path(f"{path}.json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **fields}))


def refused(path: Path) -> str:
    with pytest.raises(vos_jax.InputError) as caught:
        vos_jax.load_program(path)
    message = str(caught.value)
    assert "\n" not in message and str(path.parent) in message
    return message


def test_files_that_are_no_program_are_refused(folder: Path, tmp_path: Path) -> None:
    path, beside = copied(folder, tmp_path), tmp_path / "step.json"
    assert "no such file" in refused(tmp_path / "other")
    content, text = path.read_bytes(), beside.read_text()
    for damaged in (content[:-7], b"", content[:99] + b"x" + content[100:]):
        path.write_bytes(damaged)
        assert "is damaged" in refused(path)
    path.write_bytes(content)
    beside.write_text(text[:50])
    assert "not JSON" in refused(path)
    beside.write_text("[1]")
    assert "does not describe a program" in refused(path)
    beside.unlink()
    assert "step.json: no such file" in refused(path)


def test_a_program_of_another_version_is_refused(folder: Path, tmp_path: Path) -> None:
    path = copied(folder, tmp_path)
    changed(path, calling_convention=99, jax="9.0.1")
    message = refused(path)
    assert "calling convention 99" in message and "made by JAX 9.0.1" in message
    copied(folder, tmp_path)
    changed(path, format=77)
    assert "its format is 77" in refused(path)


def test_what_jax_cannot_read_is_refused(folder: Path, tmp_path: Path) -> None:
    import hashlib

    path = copied(folder, tmp_path)
    path.write_bytes(b"no program at all" * 40)
    changed(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), jax="0.4.1")
    message = refused(path)
    assert "cannot read it" in message and "made by JAX 0.4.1" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, f: (s,), "1 arguments given, it takes state, frame"),
        (lambda s, f: (s, f[:16]), r"frame: shape \[16, 48, 3\] given, \[32, 48, 3\]"),
        (lambda s, f: (s, f / 255), "frame: dtype float64 given|frame: dtype float32"),
        (lambda s, f: (s, f.tolist()), "frame"),
        (lambda s, f: ({**s, "time": 1.5}, f), "state.time: dtype float given"),
        (lambda s, f: ({**s, "more": f}, f), "state.more: is not taken"),
        (
            lambda s, f: ({k: x for k, x in s.items() if k != "ids"}, f),
            "state.ids: is missing",
        ),
        (
            lambda s, f: ({**s, "ids": np.zeros(3, np.int32)}, f),
            r"state.(ids|memory.*|probs|first): shape .* given",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    change: Any, message: str, folder: Path
) -> None:
    frames, labels = video()
    start = vos_jax.load_program(folder / "start")
    state = start(frames[0], labels, np.array([1, 3], np.int32))
    step = vos_jax.load_program(folder / "step")
    with pytest.raises(vos_jax.InputError, match=message) as caught:
        step(*change(state, frames[1]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 0], "no object"),
        ([1, 1], "must differ"),
        ([1, 300], "lie in 1..254"),
        ([1, 7], "no pixel of object 7"),
        ([], r"O >= 1"),
    ],
)
def test_ids_that_are_no_objects_are_refused(
    ids: list[int], message: str, folder: Path
) -> None:
    frames, labels = video()
    start = vos_jax.load_program(folder / "start")
    with pytest.raises(vos_jax.InputError, match=message):
        start(frames[0], labels, np.array(ids, np.int32))


def test_what_cannot_be_left_open_is_said(stm: Model, tmp_path: Path) -> None:
    path = tmp_path / "step"
    with pytest.raises(
        vos_jax.InputError, match=r"frames: .* on cuda; give --frames N"
    ):
        vos_jax.export_program(*stm, path, platforms=["cuda"], size=SIZE, objects=2)
    with pytest.raises(vos_jax.InputError, match=r"size: .*DMNAOA.*give --size HEIGHT"):
        vos_jax.export_program(*tiny("dmn-aoa"), path, "step")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_objects_are_not_open_where_a_program_would_be_for_one(tmp_path: Path) -> None:
    sizes: Any = {"size": (480, 854), "frames": 20}
    with pytest.raises(vos_jax.InputError, match=r"^objects: .*; give --objects N$"):
        vos_jax.export_program(*tiny("lcm"), tmp_path / "step", "step", **sizes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lcm", "dmn-aoa"])
def test_the_size_alone_is_named_where_it_alone_is_wrong(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(
        vos_jax.InputError, match=r"^size: .*; give --size HEIGHT WIDTH$"
    ):
        vos_jax.export_program(*tiny(name), tmp_path / "step", "step")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": "stop"}, "what='stop': use one of start"),
        ({"platforms": ["abacus"]}, "platform 'abacus'"),
        ({"platforms": []}, "none given"),
        ({"platforms": ["gpu", "cuda"]}, "one twice"),
        ({"size": (8, 64)}, "size=8"),
        ({"objects": 255}, "objects=255"),
        ({"frames": 0}, "frames=0"),
        ({"weights": "outside"}, "weights='outside'"),
    ],
)
def test_arguments_of_an_export_are_checked(
    options: Any, message: str, stm: Model, tmp_path: Path
) -> None:
    with pytest.raises(vos_jax.InputError, match=message):
        vos_jax.export_program(*stm, tmp_path / "x", **{"size": SIZE, **options})


def test_plain_trees_come_back_as_they_were() -> None:
    class Own:
        pass

    tree = vos_jax.Proposals((1, [2]), {10: 3, 9: 5, 11: None}, (), 4)
    plain = to_plain(tree)
    assert plain == {
        "boxes": (1, [2]),
        "masks": {"10": 3, "9": 5, "11": None},
        "scores": (),
        "valid": 4,
    }
    assert from_plain(tree, plain) == tree
    jax.tree_util.register_pytree_node(Own, lambda x: ((), None), lambda _, x: Own())
    with pytest.raises(vos_jax.InputError, match="Own is part of"):
        to_plain((Own(),))
