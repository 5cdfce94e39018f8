"""A page of `vos-jax annotate` in a browser, used as a person does."""

import math
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app.client import Client

FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-dev-shm-usage",
    "disable-quic",
    "disable-sync",
    "disable-background-networking",
    "disable-component-update",
    "no-first-run",
    "hide-scrollbars",
)
PATIENCE = 60


def until(condition, what, seconds=PATIENCE):
    """Waits for something to be true; what it gives then."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting: {what}"
        time.sleep(0.02)
    return found


@contextmanager
def browsing(chromium, chromedriver, profile):
    """A browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


class Served:
    """The command in a process of its own, killed and started again at will."""

    def __init__(self, *words):
        self.words = [sys.executable, "-m", "vos_jax", "annotate", *map(str, words)]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [*self.words, "--no-browser"], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        assert "http://127.0.0.1:" in line, "the server did not start"
        self.address = line.split()[-1]
        port, token = self.address.rstrip("/").rpartition(":")[2].split("/")
        self.client = Client(int(port), token)
        return self

    def end(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process = None


class Page:
    """What a person sees and does. Places are in pixels of the frame."""

    def __init__(self, driver, address, size=(1280, 800)):
        self.driver = driver
        self.resize(*size)
        self.open(address)

    def open(self, address):
        self.driver.get(address)
        self.wait("ready")
        until(lambda: self.frame is not None, "the first frame")

    def resize(self, width, height):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    # What is seen.

    def __getitem__(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.run(f"return document.getElementById({name!r}).textContent")

    def run(self, script, *given):
        return self.driver.execute_script(script, *given)

    @property
    def state(self):
        return self.run("return document.body.dataset.state")

    @property
    def frame(self):
        number = self.run("return document.body.dataset.frame ?? null")
        return None if number is None else int(number)

    def wait(self, state):
        until(lambda: self.state == state, f"{state}, it is {self.state}")

    def at_frame(self, index):
        until(lambda: self.frame == index, f"frame {index}, it is {self.frame}")

    def notice(self):
        return until(lambda: self.text("notices"), "a notice")

    def objects(self):
        """Names in the list."""
        script = (
            "return [...document.querySelectorAll('#objects .name')].map(e=>e.value)"
        )
        return self.run(script)

    def errors(self):
        """What the browser complains of, but for requests that were not answered."""
        entries = [each["message"] for each in self.driver.get_log("browser")]
        of_network = ("Failed to load resource", "WebSocket connection")
        return [each for each in entries if not any(x in each for x in of_network)]

    # What is done.

    def press(self, *keys, ready=True):
        """A key, or several that are held down together."""
        chain = ActionChains(self.driver)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in reversed(keys[:-1]):
            chain.key_up(key)
        chain.perform()
        if ready:
            self.wait("ready")

    def type(self, text):
        ActionChains(self.driver).send_keys(text).perform()

    def undo(self):
        self.press(Keys.CONTROL, "z")

    def redo(self):
        self.press(Keys.CONTROL, Keys.SHIFT, "z")

    def click(self, name):
        self[name].click()

    def stroke(self, *points, held=None, button=0, ready=True):
        """Pointer down at the first point, along the others, up."""
        chain = ActionChains(self.driver, duration=15)
        if held:
            chain.key_down(held)
        self._move(chain, points, button)
        chain.w3c_actions.pointer_action.pointer_up(button)
        chain.w3c_actions.key_action.pause()
        if held:
            chain.key_up(held)
        chain.perform()
        if ready:
            self.wait("ready")

    def hold(self, *points):
        """The same without letting go."""
        chain = ActionChains(self.driver, duration=15)
        self._move(chain, points, 0)
        chain.perform()

    def release(self):
        ActionChains(self.driver).release().perform()

    def scrub(self, *indices):
        """Drags over the timeline."""
        line = self["timeline"]
        width = line.size["width"]
        frames = self.run("return Number(arguments[0].ariaValueMax) + 1", line)
        chain = ActionChains(self.driver, duration=20)
        for k, index in enumerate(indices):
            x = 10 + (index + 0.5) * (width - 20) / frames
            chain.move_to_element_with_offset(line, round(x - width / 2), 0)
            if k == 0:
                chain.click_and_hold()
        chain.release().perform()

    def _move(self, chain, points, button):
        marks = self["marks"]
        scale, x, y = map(float, marks.get_attribute("data-view").split())
        size = marks.size
        for k, point in enumerate(points):
            chain.move_to_element_with_offset(
                marks,
                round(x + scale * point[0] - size["width"] / 2),
                round(y + scale * point[1] - size["height"] / 2),
            )
            if k == 0:
                chain.w3c_actions.pointer_action.pointer_down(button)
                chain.w3c_actions.key_action.pause()


def circle(x, y, radius, count=16):
    """Points of a closed circle."""
    return [
        (
            x + radius * math.cos(2 * math.pi * k / count),
            y + radius * math.sin(2 * math.pi * k / count),
        )
        for k in range(count + 1)
    ]
