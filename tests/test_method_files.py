"""Methods from Python files, in every command that takes a method."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.clips import moving_clip, write_davis, write_frames, write_masks
from vos_jax.cli import main
from vos_jax.convert.weights import read_metadata
from vos_jax.methods import find_entry
from vos_jax.methods.weights import convert, export, random_model
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops.memory_bank import KEPT, Bank, Moment
from vos_jax.ops.read import space_time_read
from vos_jax.runtime.python_file import run_python_file

EXAMPLES = Path(__file__).parents[1] / "examples"
# A setting of each that changes its read, and one with which it is STM's.
OWN = {
    "local_stm": ("radius=0", "radius=100"),
    "kmn": ("sigma=0.3", "sigma=1e6"),
}
# One that changes what is forgotten and not what is read, tested below.
FORGETS = "learned_eviction"
SMALL = """

from vos_jax.nn.resnet import ResNetConfig
import dataclasses

small = entry._replace(
    config=dataclasses.replace(
        entry.config,
        backbone=ResNetConfig(depth=18, width=4),
        key_dim=4,
        value_dim=8,
        decoder_dim=4,
    )
)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """`frames/`, `first.png`, the data set `davis/`, and the examples with `small`."""
    root = tmp_path_factory.mktemp("files")
    frames, labels = moving_clip(4)
    write_frames(root / "frames", frames)
    write_masks(root, {"first": labels[0]})
    write_davis(root / "davis", ["alpha"])
    for name in (*OWN, FORGETS):
        text = (EXAMPLES / f"{name}.py").read_text()
        (root / f"{name}.py").write_text(text + SMALL)
    return root


@pytest.fixture(scope="module")
def weights(files):
    """Small weights of STM, which both examples read."""
    backbone = ResNetConfig(depth=18, width=4)
    stm, variables = random_model(
        "stm", backbone=backbone, key_dim=4, value_dim=8, decoder_dim=4
    )
    vos_jax.save_weights(files / "stm.safetensors", "stm", stm, variables)
    published = export("stm", stm, variables)
    np.savez(files / "published.npz", **published)
    return files / "stm.safetensors"


def segment(files, method, weights, name, *options):
    """Probabilities of a run of `segment`, in the order of the frames."""
    out = files / name
    command = ["segment", str(files / "frames"), "--mask", str(files / "first.png")]
    command += ["--method", method, "--weights", str(weights), "--out", str(out)]
    assert main([*command, "--save-scores", *options]) == 0
    return [np.load(path)["probs"] for path in sorted(out.rglob("*.npz"))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local_stm", "kmn"])
def test_an_example_segments_with_weights_of_stm_and_a_setting_of_its_own(
    files, weights, name
):
    method = str(EXAMPLES / f"{name}.py")
    narrow, wide = OWN[name]
    stm = segment(files, "stm", weights, f"stm-beside-{name}")
    same = segment(files, method, weights, f"{name}-wide", "--set", wide)
    other = segment(files, method, weights, f"{name}-narrow", "--set", narrow)
    assert len(stm) == 4
    # Scores are stored as float16, whose numbers up to 1 are 2^-11 apart.
    np.testing.assert_allclose(same, stm, atol=2**-11)
    assert np.abs(np.subtract(other, stm, dtype=np.float32)).max() > 4 * 2**-11


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local_stm", "kmn", FORGETS])
def test_an_example_is_evaluated_converted_timed_and_demonstrated(
    files, weights, name, tmp_path
):
    method = f"{files / name}.py:small"
    converted = tmp_path / "converted.safetensors"
    assert main(["convert", method, str(files / "published.npz"), str(converted)]) == 0
    assert read_metadata(converted).method == f"{name}.py:small"
    with pytest.raises(vos_jax.InputError, match=r"\.py:small', not of 'stm'"):
        vos_jax.load_model("stm", converted)
    with pytest.raises(vos_jax.InputError, match=rf"not of '{name}\.py'"):
        vos_jax.load_model(str(files / f"{name}.py"), converted)
    pair = vos_jax.load_weights(converted), vos_jax.load_weights(weights)
    jax.tree.map(np.testing.assert_array_equal, *pair)
    model = ["--method", method, "--weights", str(converted)]
    data = ["--dataset", "davis2017", "--root", str(files / "davis"), "--split", "val"]
    evaluated = tmp_path / "evaluated"
    assert main(["evaluate", *data, *model, "--out", str(evaluated)]) == 0
    assert len(list(evaluated.rglob("alpha/*.png"))) > 1
    size = ["--height", "32", "--width", "48", "--objects", "1", "--frames", "2"]
    once = ["--repeats", "1"]
    assert main(["bench", "model", *model, *size, *once]) == 0
    demo = ["--clips", "1", "--theme", "shapes", "--out", str(tmp_path / "demo")]
    demo += ["--set", "mem_capacity=4" if name == FORGETS else OWN[name][0]]
    assert main(["demo", *model, *demo]) == 0


@pytest.mark.slow
def test_a_method_of_a_file_is_trained_and_its_weights_remember_it(
    files, tmp_path, capsys
):
    method = f"{files / 'local_stm'}.py:small"
    experiment = tmp_path / "experiment.py"
    experiment.write_text(
        "from tests.small_run import experiment as make\n"
        "from vos_jax.methods.objective import StepConfig\n"
        "def experiment():\n"
        f"    return make(method={method!r}, steps=1, batch=1, step=StepConfig())\n"
    )
    workdir = tmp_path / "run"
    assert main(["train", str(experiment), "--workdir", str(workdir), "--json"]) == 0
    trained = Path(json.loads(capsys.readouterr().out)["weights"])
    assert read_metadata(trained).method == "local_stm.py:small"
    narrow = vos_jax.load_model(method, trained, radius=1)[0]
    assert narrow.config == replace(find_entry(method).config, radius=1, read="auto")


@pytest.mark.slow
def test_a_run_of_a_file_that_has_changed_is_not_gone_on_with(files, tmp_path, weights):
    method = tmp_path / "mine.py"
    method.write_text((EXAMPLES / "kmn.py").read_text())
    segment(files, str(method), weights, "changed")
    first = find_entry(str(method))
    assert find_entry(str(method)).module is first.module
    method.write_text(method.read_text() + "\n# Another read.\n")
    assert find_entry(str(method)).module is not first.module
    command = ["segment", str(files / "frames"), "--mask", str(files / "first.png")]
    command += ["--method", str(method), "--weights", str(weights), "--resume"]
    assert main([*command, "--out", str(files / "changed"), "--save-scores"]) == 2


def test_what_a_file_lacks_is_said(tmp_path):
    def refuse(text, match, suffix=""):
        path = tmp_path / "method.py"
        path.write_text(text)
        with pytest.raises(vos_jax.InputError, match=match):
            vos_jax.create(f"{path}{suffix}")

    with pytest.raises(vos_jax.InputError, match=r"there is no file absent\.py"):
        vos_jax.create("absent.py")
    refuse("x = 1\n", r"method\.py: has no vos_jax\.Entry called entry")
    # Of the same size and second: Python would run the file before from its cache.
    refuse("1 / 0\n", r"method\.py: ZeroDivisionError: division by zero")
    head = "import vos_jax\nfrom vos_jax.methods.stm import STM, STMConfig\n"
    mine = f"{head}mine = vos_jax.Entry(STM, STMConfig())\n"
    refuse(mine, r"called entry; it has mine: give .*method\.py:NAME")
    refuse(mine, "called other; it has mine", ":other")
    refuse(f"{head}entry = vos_jax.Entry(STMConfig, STMConfig())", "no subclass of")
    refuse(f"{head}entry = vos_jax.Entry(STM, 3)", "config 3 is no .*ReadConfig")
    refuse(
        f"{head}entry = vos_jax.Entry(STM, STMConfig(), reads=('xmem',))",
        "reads or extends 'xmem', which is no method of the package",
    )
    (tmp_path / "method.py").write_text(mine)
    with pytest.raises(vos_jax.InputError, match="has no torch_table"):
        convert(f"{tmp_path / 'method.py'}:mine", "a.npz", "b.safetensors")


def test_the_local_read_of_a_radius_over_the_frame_is_that_of_all_cells():
    read = run_python_file(EXAMPLES / "local_stm.py").local_read
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (4, 6, 8))
    memory = jax.random.normal(keys[1], (3, 2, 4, 6, 8))
    value = jax.random.normal(keys[2], (3, 2, 4, 6, 5))
    filled = jnp.array([[True, True], [True, False], [False, False]])
    expected = space_time_read(query, memory, value, filled)
    everywhere = read(query, memory, value, filled, radius=6)
    np.testing.assert_allclose(everywhere, expected, rtol=1e-5, atol=1e-6)


# What is forgotten


@pytest.fixture(scope="module")
def remembered(files, weights):
    """Kept frames and last logits of a clip, by a method and its settings."""
    frames, labels = moving_clip(9)

    def run(name, **settings):
        settings = {"mem_every": 1, "mem_capacity": 5, **settings}
        model = vos_jax.load_model(name, weights, **settings)
        state = vos_jax.start(*model, frames[0], labels[0], frames=9)
        for frame in frames[1:]:
            state, out = vos_jax.step(*model, state, frame)
        return set(np.asarray(state.memory.bank.time[2:, 0]).tolist()), out.logits

    return run


def test_a_rule_of_age_alone_is_that_of_stm_and_its_contrary_keeps_the_oldest(
    files, remembered
):
    method = f"{files / FORGETS}.py:small"
    kept, logits = remembered("stm")
    same, found = remembered(method, rule=(1.0, 0.0, 0.0, 0.0))
    assert kept == same == {5, 6, 7}
    # The same read, in a program that asks for its usage, too.
    np.testing.assert_allclose(found, logits, atol=2e-5)
    other, found = remembered(method, rule=(-1.0, 0.0, 0.0, 0.0))
    assert other == {1, 2, 7}
    assert np.abs(found - logits).max() > 1e-3
    with pytest.raises(vos_jax.InputError, match="use 4 numbers"):
        vos_jax.create(method, rule=(1.0,))


def test_what_a_rule_goes_by_is_of_the_kept_frames():
    """Age, usage a frame, likeness to the new frame and to another kept one."""
    features_of = run_python_file(EXAMPLES / f"{FORGETS}.py").features_of
    entries = run_python_file(EXAMPLES / f"{FORGETS}.py").Entry
    angles = np.deg2rad([0, 0, 10, 50, 75])
    key = np.stack([np.cos(angles), np.sin(angles)], -1).reshape(5, 1, 1, 1, 2)
    usage = np.array([[0.0], [0.0], [0.6], [0.8], [0.1]])
    time = np.array([[8], [0], [2], [4], [7]], np.int32)
    bank = Bank(entries(jnp.array(3 * key), None, jnp.array(usage)), time, 3)
    new = entries(jnp.array(np.array([[[[0.0, 2.0]]]])), None, jnp.zeros(1))
    everything = np.array([True])
    found = features_of(bank, new, Moment(9, everything, ~everything, np.bool_(False)))
    cos = lambda degrees: np.cos(np.deg2rad(degrees))  # noqa: E731
    expected = np.array(
        [
            [7, 0.6 / 7, cos(80), cos(40)],
            [5, 0.8 / 5, cos(40), cos(25)],
            [2, 0.1 / 2, cos(15), cos(25)],
        ]
    )
    expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_what_gives_way_has_the_gradient_of_giving_way_a_little(key):
    example = run_python_file(EXAMPLES / f"{FORGETS}.py")
    method = vos_jax.create(str(EXAMPLES / f"{FORGETS}.py"), mem_every=1)
    rule = jnp.array([0.3, -0.2, 0.5, 0.1])
    keys = jax.random.split(key, 3)
    shape = (5, 2, 2, 3, 4)
    entries, direction = (
        example.Entry(*(jax.random.uniform(k, shape),) * 2, jnp.ones((5, 2)))
        for k in keys[:2]
    )
    entry = example.Entry(*(jax.random.uniform(keys[2], shape[1:]),) * 2, jnp.zeros(2))
    time = jnp.repeat(jnp.array([-1, 0, 4, 2, 3], jnp.int32)[:, None], 2, axis=1)
    both = np.array([True, True])
    moment = Moment(np.int32(5), both, ~both, np.bool_(False))

    def written(rule, bank):
        variables = {"rule": {"weights": rule}}
        return method.apply(variables, bank, entry, moment, method="write")

    def product(entries):
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, entries, direction)))

    def blended(rule, bank):
        chances = jax.nn.softmax(example.features_of(bank, entry, moment) @ rule)

        def blend(old, own):
            own = own[None] - old[KEPT:]
            shares = chances.reshape(-1, *[1] * (own.ndim - 1))
            return old.at[KEPT:].add(shares * own)

        return jax.tree.map(blend, bank.entries, entry)

    bank = Bank(entries, time, jnp.int32(3))
    learning = jax.jit(
        jax.grad(lambda rule, bank: product(written(rule, bank).entries))
    )
    slope = learning(rule, bank)
    expected = jax.grad(lambda rule: product(blended(rule, bank)))(rule)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)
    # What is done is what is done without it, and a bank with room evicts nothing.
    done = vos_jax.create(
        str(EXAMPLES / f"{FORGETS}.py"), mem_every=1, rule=tuple(rule.tolist())
    ).apply({}, bank, entry, moment, method="write")
    jax.tree.map(np.testing.assert_array_equal, written(rule, bank), done)
    with_room = bank._replace(time=time.at[4].set(-1), kept=jnp.int32(2))
    assert not np.asarray(learning(rule, with_room)).any()


def test_a_rule_is_learned_in_small(files, weights, monkeypatch, capsys):
    """A step has the length that was asked for, and so a direction."""
    path = files / f"{FORGETS}.py"
    example = run_python_file(path)
    model = vos_jax.load_model(f"{path}:small", weights, mem_every=1, mem_capacity=4)
    frames, labels = moving_clip(6)
    clips = frames[None], labels[None]
    rule = example.learn(model, clips, steps=1, batch=1, rate=0.5)
    step = np.subtract(rule, example.OLDEST)
    np.testing.assert_allclose(np.linalg.norm(step), 0.5, atol=0.02)
    assert "step 1: loss" in capsys.readouterr().out


def test_no_example_is_longer_than_a_page():
    scripts = {"ray_shards"}
    assert {*OWN, FORGETS} == {x.stem for x in EXAMPLES.glob("*.py")} - scripts
    assert len((EXAMPLES / "kmn.py").read_text().splitlines()) <= 60
