"""The pages of `vos-jax report` in a browser: nothing is loaded, everything works."""

import json
import shutil

import numpy as np
import pytest

from tests.optional import needs
from tests.reports.pages.conftest import NAMES, davis, results
from tests.reports.pages.test_pages import write_run
from vos_jax.cli import main

needs("selenium")

pytestmark = pytest.mark.browser
__all__ = ["davis", "results"]


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic"):
        options.add_argument(f"--{word}")
    for word in ("background-networking", "component-update", "sync"):
        options.add_argument(f"--disable-{word}")
    options.add_argument("--window-size=1200,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Without one selenium would look for a driver on the network.
    found = shutil.which("chromedriver")
    assert found, "install Chromium's driver: apt-get install chromium-driver"
    service = Service(found)
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of some folders; nothing was refused or failed in it."""

    def run(*folders):
        out = tmp_path / "page"
        assert main(["report", *map(str, folders), "--out", str(out)]) == 0
        browser.get((out / "report.html").as_uri())
        return browser

    yield run
    assert browser.get_log("browser") == []


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def texts(browser, selector):
    return [each.text for each in find(browser, selector)]


def press(element, *keys):
    from selenium.webdriver.common.keys import Keys

    element.send_keys(*[getattr(Keys, key) for key in keys])


def test_nothing_but_the_file_is_loaded(opened, results):
    browser = opened(*results)
    script = "return performance.getEntriesByType('resource').map((x) => x.name)"
    assert all(name.startswith("data:") for name in browser.execute_script(script))
    script = "return [...document.images].every((x) => x.complete && x.naturalWidth)"
    assert len(find(browser, "img")) >= 30
    assert browser.execute_script(script)


def test_tables_sort_by_number_and_back(opened, results):
    browser = opened(results[0])
    table = "#sequences table"
    button = find(browser, f"{table} thead button")[3]
    assert button.text == "J&F"
    rows = f"{table} tbody"
    before = find(browser, rows)[0].text
    press(button, "ENTER")
    names = [line.split()[0] for line in find(browser, rows)[0].text.splitlines()]
    assert names == list(NAMES)[::-1]
    title = find(browser, f"{table} thead th")[3]
    assert title.get_attribute("aria-sort") == "ascending"
    press(button, "ENTER")
    assert title.get_attribute("aria-sort") == "descending"
    assert find(browser, rows)[0].text == before


def test_charts_are_read_with_the_keyboard(opened, results):
    browser = opened(*results)
    written = json.loads((results[0] / "results-val.json").read_text())
    (svg,) = find(browser, '[data-chart="J"] > svg')
    press(svg, "HOME", "ARROW_RIGHT")
    # The worst sequence is shown first, with the mean of its objects.
    of_gamma = [x for x in written["objects"] if x["sequence"] == "gamma"]
    expected = np.mean([x["J_frames"][1] for x in of_gamma])
    (told,) = texts(browser, '[data-chart="J"] .readout')
    assert told.startswith(f"frame 00002: near {expected:.4g}"[:-1])
    assert svg.get_attribute("aria-valuetext") == told
    press(svg, "END")
    assert "frame 00004" in texts(browser, '[data-chart="J"] .readout')[0]


def test_a_sequence_and_an_object_are_chosen(opened, results):
    from selenium.webdriver.support.ui import Select

    browser = opened(results[0])
    (first,) = (x for x in find(browser, "[data-choose]") if x.text == "alpha")
    first.click()
    sequence, of = (Select(x) for x in find(browser, ".controls select"))
    assert sequence.first_selected_option.text == "alpha"
    assert len(find(browser, '[data-chart="F"] path')) == 2
    of.select_by_visible_text("2")
    assert len(find(browser, '[data-chart="F"] path')) == 1


@pytest.mark.parametrize("width", [400, 1600])
def test_a_window_of_any_width_needs_no_sideways_scrolling(opened, results, width):
    browser = opened(*results)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    script = "return [document.documentElement.scrollWidth, innerWidth]"
    wide, window = browser.execute_script(script)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert window == width and wide <= window


def test_a_long_name_takes_several_lines(opened, results):
    browser = opened(*results, "--name", "n" * 4000, "--name", "other")
    script = "return [document.documentElement.scrollWidth, innerWidth]"
    wide, window = browser.execute_script(script)
    assert wide <= window
    script = "return Math.max(...[...document.querySelectorAll('table')].map((x) => x"
    assert browser.execute_script(f"{script}.scrollWidth))") < 2 * window


def test_scores_that_are_missing_come_last(opened, results, tmp_path):
    (tmp_path / "masks").rename(tmp_path / "gone")
    path = results[0] / "results-val.json"
    content = json.loads(path.read_text())
    for entry in content["objects"][:2]:
        entry["J_frames"] = [None] * 4
    path.write_text(json.dumps(content))
    browser = opened(results[0])
    button = find(browser, "#sequences table thead button")[3]
    rows = "#sequences table:first-of-type tbody th"
    for expected in (["gamma", "beta", "alpha"], ["beta", "gamma", "alpha"]):
        press(button, "ENTER")
        assert texts(browser, rows)[:3] == expected


def test_a_histogram_tells_how_many_bars_it_has(opened, results):
    browser = opened(results[0])
    (svg,) = find(browser, '[data-chart="histogram"] > svg')
    press(svg, "END")
    assert svg.get_attribute("aria-valuenow") == "19"
    assert svg.get_attribute("aria-valuemax") == "19"


@pytest.mark.parametrize(
    "values",
    [[0.25] * 3, [0.0] * 3, [-1e308, 1e308, 0.0], [1e308] * 3, [1.79e308, 1.0, 2.0]],
)
def test_any_curve_lies_within_its_axes(opened, tmp_path, values):
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(values)]
    (tmp_path / "run").mkdir()
    log = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "run" / "log.jsonl").write_text(log)
    browser = opened(tmp_path / "run")
    heights = [float(x.get_attribute("cy")) for x in find(browser, "circle")]
    assert len(heights) == 3
    assert all(9 < height < 187 for height in heights)
    if len(set(values)) == 1:
        assert all(50 < height < 150 for height in heights)
    path = find(browser, "path")[0].get_attribute("d")
    assert "NaN" not in path and "Infinity" not in path
    assert len(find(browser, ".grid")) >= 2


def test_a_long_log_is_drawn(opened, tmp_path):
    (tmp_path / "run").mkdir()
    rows = (f'{{"step": {step}, "loss": {1 / step}}}\n' for step in range(1, 200_001))
    (tmp_path / "run" / "log.jsonl").write_text("".join(rows))
    browser = opened(tmp_path / "run")
    assert find(browser, "path")[0].get_attribute("d").count("L") == 199_999


def test_names_do_not_run(opened, tmp_path):
    from tests.clips import write_davis
    from tests.reports.pages.conftest import scored, write_results

    names = ["<img src=x onerror=document.title=1>", "<script>document.title=2"]
    root = write_davis(tmp_path / "evil", names, 6)
    write_results(tmp_path / "masks", names)
    browser = opened(scored(root, tmp_path / "masks", tmp_path / "<b>out"))
    assert browser.title == "<b>out on davis2017 val"
    assert names[0] in texts(browser, "#sequences tbody a")


def test_a_training_run_is_drawn(opened, tmp_path):
    browser = opened(write_run(tmp_path / "run"))
    assert len(find(browser, ".chart path")) == len(find(browser, ".chart")) == 4
    svg = find(browser, '[data-chart="data_wait"] > svg')[0]
    press(svg, "END")
    assert texts(browser, '[data-chart="data_wait"] .readout') == ["step 6: 0.25"]
