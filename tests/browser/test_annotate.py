"""The page of `vos-jax annotate` in a browser, on the real server, as a person uses it.

Strokes are made by the pointer, and what has become of them is asked of the server.
"""

import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.optional import needs

needs("selenium")
needs("starlette")
needs("uvicorn")
needs("websockets")

from selenium.webdriver.common.keys import Keys  # noqa: E402

from tests.browser.driven import Page, Served, browsing, circle, until  # noqa: E402
from vos_jax.app import runs  # noqa: E402
from vos_jax.data.synthetic import generate_clip  # noqa: E402
from vos_jax.media import VideoWriter, read_labels  # noqa: E402

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
if not (CHROMIUM and CHROMEDRIVER):
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)

HEIGHT, WIDTH = SIZE = 96, 160
FRAMES = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return generate_clip(seed=3, frames=FRAMES, size=SIZE, objects=2)


@pytest.fixture(scope="module")
def video(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with VideoWriter(path, 12, SIZE) as writer:
        for frame in clip.frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browsing(CHROMIUM, CHROMEDRIVER, tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def served(video, tmp_path):
    made = Served(video, "--out", tmp_path / "project").start()
    yield made
    made.end()


@pytest.fixture
def page(driver, served):
    made = Page(driver, served.address)
    yield made
    assert made.errors() == []
    driver.get("about:blank")


@pytest.fixture
def labels(served):
    """The label map of a frame, as the server has it."""
    return lambda index: served.client.labels(index, SIZE)[0]


def shapes(clip):
    """Middle and half the size of the two objects in the first frame."""
    for label in (1, 2):
        rows, columns = np.nonzero(clip.labels[0] == label)
        yield columns.mean(), rows.mean(), min(np.ptp(rows), np.ptp(columns)) / 2


def corners(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def test_brush_eraser_polygon_and_fill_draw_what_they_promise(page, labels):
    before = labels(0).tobytes()
    for _ in range(40):
        page.press("[")
    for _ in range(8):
        page.press("]")
    assert page.text("size-value") == "9 px"
    page.stroke((40, 40), (100, 40))
    drawn = labels(0)
    # A round tip of nine pixels: its middle row is longer than its last ones.
    assert (drawn[36:44, 42:98] == 1).all() and drawn[:34].max() == 0
    assert set(np.unique(drawn)) == {0, 1}
    assert drawn[40].sum() > drawn[36].sum() >= 57

    page.press("n")
    page.press("p")
    for point in corners(60, 38, 90, 70):
        page.stroke(point)
    page.press(Keys.ENTER)
    squared = labels(0)
    assert (squared[40:69, 62:88] == 2).all() and (squared == 2).sum() in range(
        850, 1090
    )

    page.press("l")  # only background
    page.press("b")
    page.press("1")
    page.stroke((50, 60), (100, 60))
    locked = labels(0)
    assert ((locked == 2) == (squared == 2)).all() and locked[60, 95] == 1
    page.press("l")

    page.press("e")
    page.stroke((75, 55))  # object 1 is selected, and there is only object 2
    assert (labels(0) == locked).all()
    page.press("2")
    page.stroke((75, 55))
    erased = labels(0)
    hole = (locked == 2) & (erased == 0)
    assert hole[55, 75] and 40 < hole.sum() < 90

    page.press("g")
    page.stroke((75, 55))
    assert (labels(0) == locked).all()
    page.stroke((5, 5))
    assert "not enclosed" in page.notice()
    assert (labels(0) == locked).all()

    last = labels(0).tobytes()
    for _ in range(6):  # fill, eraser, brush, polygon, object, brush
        page.undo()
    assert labels(0).tobytes() == before and page.objects() == ["object 1"]
    assert not page["undo"].is_enabled()
    for _ in range(6):
        page.redo()
    assert labels(0).tobytes() == last and page.objects() == ["object 1", "object 2"]


def test_shift_erases_any_object_and_the_right_button_erases(page, labels):
    page.press("p")
    for point in corners(20, 20, 60, 60):
        page.stroke(point)
    page.stroke((20, 20))  # a click at the first point closes
    page.press("n")
    page.press("e")
    page.stroke((40, 40))
    assert labels(0)[40, 40] == 1
    page.stroke((40, 40), held=Keys.SHIFT)
    assert labels(0)[40, 40] == 0
    page.press("1")
    page.press("b")
    page.stroke((50, 50), button=2)
    assert labels(0)[50, 50] == 0
    page.press("g")
    page.stroke((25, 25), held=Keys.SHIFT)
    assert labels(0).max() == 0
    page.undo()
    page.press(Keys.DELETE)  # all of the selected object
    assert labels(0).max() == 0


def test_tracking_is_stopped_corrected_and_exported_as_segment_does(
    page, served, labels, clip, video, tmp_path
):
    out = tmp_path / "project"
    for number, (x, y, radius) in enumerate(shapes(clip), 1):
        if number > 1:
            page.press("n")
        page.press("b")
        page.stroke(*circle(x, y, radius * 0.8))
        page.press("g")
        page.stroke((x, y))
    first = labels(0)
    assert set(np.unique(first)) == {0, 1, 2}
    page.press("t", ready=False)
    page.wait("tracking")
    until(lambda: page.frame >= 4, "frames that are tracked")
    page.press("s")
    stopped = served.client.project()["status"]
    reached = stopped.rindex("m")
    assert 4 <= reached < FRAMES - 1 and stopped == "m" * (reached + 1) + "." * (
        FRAMES - 1 - reached
    )
    assert labels(reached).any()
    before = [labels(index).tobytes() for index in range(reached + 1)]

    page.press("j")
    page.type(f"3{Keys.ENTER}")
    page.at_frame(3)
    tracked = labels(3)
    page.press("2")
    page.press("b")
    page.stroke((30, 80), (60, 80))
    corrected = labels(3)
    assert corrected[80, 45] == 2 and (corrected != tracked).any()
    state = served.client.project()
    assert state["drawn"] == [0, 3] and "s" in state["status"]
    page.press("t", ready=False)
    page.wait("tracking")
    page.wait("ready")
    assert served.client.project()["status"] == "m" * FRAMES
    assert ((labels(3) == 2) == (corrected == 2)).all()

    page.press(Keys.CONTROL, "e")
    page.click("export-coco")
    page.click("export-go")
    until(lambda: "wrote" in page.text("message"), "the export")
    assert {"masks", "given", "overlay.mp4", "coco.json"} <= {
        each.name for each in out.iterdir()
    }
    given = sorted(each.name for each in (out / "given").iterdir())
    assert given == ["00000.png", "00003.png"]
    command = ["segment", video, "--mask", out / "given", "--out", tmp_path / "segment"]
    subprocess.run(
        [sys.executable, "-m", "vos_jax", *map(str, command), "--method", "hmmn-tiny"],
        check=True,
    )
    for index in range(FRAMES):
        name = f"masks/{index:05d}.png"
        ours, theirs = (read_labels(x / name) for x in (out, tmp_path / "segment"))
        assert (ours == labels(index)).all() and (ours == theirs).all(), index

    last = [labels(index).tobytes() for index in range(FRAMES)]
    page.undo()
    assert page.frame == 3
    assert [labels(index).tobytes() for index in range(reached + 1)] == before
    page.redo()
    assert [labels(index).tobytes() for index in range(FRAMES)] == last
    while page["undo"].is_enabled():
        page.undo()
    assert page.objects() == ["object 1"]
    state = served.client.project()
    assert state["drawn"] == [] and "m" not in state["status"]
    while page["redo"].is_enabled():
        page.redo()
    assert [labels(index).tobytes() for index in range(FRAMES)] == last


def test_a_reload_shows_everything_as_it_was(page, served, labels):
    page.stroke((30, 30), (60, 40))
    page.press("n")
    page.press("r", ready=False)
    page.type(f"the <b>second</b> one{Keys.ENTER}")
    page.wait("ready")
    page.press("e")
    page.press("i")
    page.press(";")
    page.press("]")
    page.press(Keys.END)
    page.at_frame(FRAMES - 1)

    def seen():
        script = """return [document.body.dataset.frame, document.title,
            ...["objects", "tools", "size-value", "opacity-value", "here-text"].map(
              (id) => document.getElementById(id).innerHTML),
            ...[...document.querySelectorAll("#objects .name")].map((e) => e.value)]"""
        return page.run(script)

    before, project = until(seen, "the page"), served.client.project()
    page.open(served.address)
    page.at_frame(FRAMES - 1)
    until(lambda: seen() == before, "the page as it was")
    assert served.client.project() == project
    assert page.objects() == ["object 1", "the <b>second</b> one"]
    assert page.run("return document.querySelector('#objects b')") is None


def test_everything_but_the_stroke_is_done_by_keys(page, served, labels):
    client = served.client
    page.press("n")
    page.press(Keys.F2, ready=False)
    page.type(f"ball 1 2 3{Keys.ENTER}")
    page.wait("ready")
    assert page.objects() == ["object 1", "ball 1 2 3"]
    assert page.frame == 0  # what was typed into the name was no command
    page.press("1")
    page.stroke((40, 40), (70, 50))
    page.press(Keys.ARROW_DOWN)
    page.stroke((100, 40), (120, 50))
    first = labels(0)
    assert set(np.unique(first)) == {0, 1, 2}
    page.press(Keys.SHIFT, Keys.DELETE)
    assert page.objects() == ["object 1"] and labels(0).max() == 1
    page.undo()
    assert (labels(0) == first).all()

    page.press("2")
    page.press(Keys.ARROW_RIGHT)
    page.at_frame(1)
    page.press(Keys.SHIFT, Keys.ARROW_RIGHT)
    page.at_frame(11)
    page.press(Keys.END)
    page.at_frame(FRAMES - 1)
    page.press(Keys.HOME)
    page.at_frame(0)
    page.press(Keys.CONTROL, "c")
    page.press(".")
    page.at_frame(1)
    page.press(Keys.CONTROL, "v")
    assert (labels(1) == np.where(first == 2, 2, 0)).all()
    assert client.project()["undo"] == "paste in frame 00001"
    page.press(Keys.PAGE_UP)
    page.at_frame(0)
    page.press(Keys.PAGE_DOWN)
    page.at_frame(1)
    page.press(Keys.CONTROL, Keys.DELETE)
    assert client.project()["drawn"] == [0]
    assert not labels(1).any()

    page.press("t")
    assert "no mask" in page.notice()
    page.press(Keys.ESCAPE)
    assert page.text("notices") == ""
    page.press(Keys.HOME)
    page.press("t", ready=False)
    page.wait("tracking")
    until(lambda: page.frame >= 6, "frames that are tracked")
    page.press("s")
    page.press("j")
    page.type(f"5{Keys.ENTER}")
    page.at_frame(5)
    page.press("x")
    assert client.project()["ended"] == [[5, 2]]
    assert 2 not in labels(5) and 2 not in labels(6)
    page.press("x")
    assert client.project()["ended"] == []

    page.press("v")
    assert "hidden" in page.run(
        "return document.querySelector('[data-object=\"2\"]').className"
    )
    page.press("m")
    assert page["masks"].get_attribute("aria-pressed") == "false"
    page.press("?")
    assert page["help"].is_displayed()
    page.press(Keys.ESCAPE)
    assert not page["help"].is_displayed()
    page.press(Keys.CONTROL, "e")
    assert page["export-dialog"].is_displayed()
    page.press(Keys.ENTER)
    until(lambda: "wrote" in page.text("message"), "the export")


def test_playing_shows_every_frame_in_order(page):
    page.run(
        """window.seen = [];
        const look = () => window.seen.push(Number(document.body.dataset.frame));
        new MutationObserver(look).observe(document.body,
          {attributes: true, attributeFilter: ["data-frame"]});"""
    )
    page.press(" ")
    page.at_frame(FRAMES - 1)
    assert page.run("return window.seen") == list(range(1, FRAMES))
    page.scrub(3, 8, 12, 20)
    page.at_frame(20)
    assert page.run("return document.getElementById('frame').value") == "20"


def test_a_conflict_between_two_users_is_told_and_nothing_is_lost(
    page, served, labels, tmp_path
):
    with browsing(CHROMIUM, CHROMEDRIVER, tmp_path / "profile") as second:
        other = Page(second, served.address)
        page.stroke((20, 20), (40, 20))
        # The other page shows it without being asked to.
        until(lambda: "Drawn" in other.text("here-text"), "the stroke of another page")
        other.hold((20, 60), (40, 60))
        page.stroke((20, 80), (40, 80))
        other.release()
        assert "another window" in other.notice()
        now = labels(0)
        assert now[80, 30] == 1 and now[60, 30] == 0
        other.press(Keys.ENTER, ready=False)  # puts it on top
        until(lambda: labels(0)[60, 30] == 1, "the stroke on top")
        both = labels(0)
        assert both[20, 30] == both[60, 30] == both[80, 30] == 1
        other.wait("ready")
        other.stroke((100, 60), (120, 60))
        page.wait("ready")
        until(
            lambda: (
                page.run("return document.body.dataset.revision")
                == str(served.client.project()["revision"])
            ),
            "news of the other page",
        )
        page.stroke((100, 20), (120, 20))
        last = labels(0)
        assert last[60, 110] == last[20, 110] == 1 and page.text("notices") == ""


def test_strokes_arrive_when_a_killed_server_is_back(page, served, labels, driver):
    page.stroke((20, 20), (40, 20))
    served.end(signal.SIGKILL)
    page.wait("away")
    assert "kept in this browser" in page.notice()
    page.stroke((20, 60), (40, 60), ready=False)
    page.stroke((20, 80), (40, 80), ready=False)
    assert "2 edits kept" in page.text("saved")
    served.start()
    page.wait("ready")
    assert page.text("notices") == ""
    drawn = labels(0)
    assert drawn[20, 30] == drawn[60, 30] == drawn[80, 30] == 1

    # A page that is closed in the meantime leaves them to the next one.
    served.end(signal.SIGKILL)
    page.wait("away")
    page.stroke((100, 60), (120, 60), ready=False)
    closed = driver.current_window_handle
    driver.switch_to.new_window("tab")
    kept = driver.current_window_handle
    driver.switch_to.window(closed)
    driver.close()
    driver.switch_to.window(kept)
    served.start()
    page.open(served.address)
    until(lambda: labels(0)[60, 110] == 1, "the stroke of the closed page")
    page.wait("ready")
    assert (
        page.run("return Object.keys(localStorage).filter(k => /edits/.test(k))") == []
    )


def test_nothing_leaves_the_window(page):
    page.stroke((30, 30), (60, 40))
    page.press("n")
    script = """const outside = [];
        for (const each of document.querySelectorAll(
            "button, input, canvas, output, label, h1, h2, p, li, #status > *")) {
          if (each.closest("dialog")) continue;
          const box = each.getBoundingClientRect();
          if (!box.width || !box.height) continue;
          if (box.left < 0 || box.top < 0 || box.right > innerWidth + 0.5
              || box.bottom > innerHeight + 0.5) outside.push(each.outerHTML);
          if (each.tagName === "BUTTON" && each.scrollWidth > each.clientWidth + 1)
            outside.push(each.outerHTML);
        }
        for (const id of ["transport", "options"]) {
          const bar = document.getElementById(id);
          if (bar.scrollWidth > bar.clientWidth) outside.push(id);
        }
        const tools = document.getElementById("tools");
        if (tools.scrollHeight > tools.clientHeight) outside.push("tools");
        return outside"""
    for width, height in [(800, 600), (1024, 640), (1280, 720), (2000, 1100)]:
        page.resize(width, height)
        assert page.run(script) == []
        canvas = page["picture"].size
        assert canvas["width"] * canvas["height"] > 0.35 * width * height
        for keys, name in [(["?"], "help"), ([Keys.CONTROL, "e"], "export-dialog")]:
            page.press(*keys)
            box = page[name].rect
            assert 0 <= box["x"] and box["x"] + box["width"] <= width
            assert 0 <= box["y"] and box["y"] + box["height"] <= height
            page.press(Keys.ESCAPE)


def test_the_page_and_the_server_have_the_same_runs(page):
    script = """const [bytes, size, done] = arguments;
        import("./page/runs.js").then(({decode, encode, extents}) => {
          const labels = decode(Uint8Array.from(bytes), size);
          done([[...labels], [...encode(labels)], [...extents(encode(labels), 7)]]);
        })"""
    rng = random.Random(0)
    for scale in (1, 30, 300):
        labels = np.repeat(
            [rng.choice([0, 1, 7, 127, 128, 254]) for _ in range(60)],
            [rng.randint(1, scale) for _ in range(60)],
        ).astype(np.uint8)
        labels = np.resize(labels, (-(-labels.size // 7), 7))
        data = runs.encode(labels)
        decoded, encoded, found = page.driver.execute_async_script(
            script, list(data), labels.size
        )
        assert decoded == labels.ravel().tolist() and bytes(encoded) == data
        for label, one in found:
            rows, columns = np.nonzero(labels == label)
            assert one["area"] == rows.size
            assert [one["left"], one["right"]] == [columns.min(), columns.max() + 1]
            assert [one["top"], one["bottom"]] == [rows.min(), rows.max() + 1]
            assert np.isclose(one["x"], columns.mean() + 0.5)
            assert np.isclose(one["y"], rows.mean() + 0.5)
        assert {label for label, _ in found} == set(np.unique(labels)) - {0}


def test_tips_and_polygons_hold_the_pixels_whose_centres_are_inside(page):
    script = """const [kind, points, size, done] = arguments;
        import("./page/raster.js").then(({changeable, paintLine, paintPolygon}) => {
          const map = {labels: new Uint8Array(40 * 50), width: 50, height: 40};
          const may = changeable(() => true);
          const at = points.map(([x, y]) => ({x, y}));
          if (kind === "line") paintLine(map, at[0], at[1], size, 1, may);
          else paintPolygon(map, at, 1, may);
          done([...map.labels]);
        })"""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50] + 0.5
    centres = np.stack([x, y], -1)
    for _ in range(8):
        a, b = rng.uniform(-10, 55, (2, 2))
        size = int(rng.integers(2, 20))
        along = (centres - a) @ (b - a) / ((b - a) @ (b - a))
        nearest = a + np.clip(along, 0, 1)[..., None] * (b - a)
        inside = np.linalg.norm(centres - nearest, axis=-1) <= size / 2
        points = [a.tolist(), b.tolist()]
        drawn = page.driver.execute_async_script(script, "line", points, size)
        assert (np.reshape(drawn, (40, 50)) == inside).all()

        points = rng.uniform(-10, 55, (6, 2))
        inside = np.zeros((40, 50), bool)
        for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0), strict=True):
            # How often the way to the left meets an edge: odd inside.
            meets = (ay <= y) != (by <= y)
            inside ^= meets & (ax + (y - ay) / (by - ay) * (bx - ax) <= x)
        drawn = page.driver.execute_async_script(script, "polygon", points.tolist(), 0)
        assert (np.reshape(drawn, (40, 50)) == inside).all()


def test_a_stroke_stops_the_tracker_and_is_kept(page, served, labels, clip):
    x, y, radius = next(shapes(clip))
    page.stroke(*circle(x, y, radius * 0.8))
    page.press("t", ready=False)
    until(lambda: (page.frame or 0) >= 3, "frames that are tracked")
    page.stroke((20, 80), (40, 80))
    index = page.frame
    state = served.client.project()
    assert state["track"] is None and state["drawn"] == [0, index]
    assert labels(index)[80, 30] == 1 and page.text("notices") == ""
