"""Whatever a person does in whatever order, a mask is what it is said to be."""

import random

import numpy as np
import pytest

from tests.app.annotating import Annotator
from tests.app.pure import Network, absent, afresh, pure_session
from vos_jax.app import tracker
from vos_jax.errors import InputError

FRAMES = 12
STEPS = 40
DEEDS = [*["draw"] * 5, *["track"] * 6, *["end"] * 2, "begin", "forget", "undo", "undo"]
DEEDS += ["redo", "reopen", "add", "delete", "draw and undo", "draw and undo"]


@pytest.fixture(autouse=True)
def pure(monkeypatch):
    monkeypatch.setattr(tracker, "VideoSegmenter", Network)
    monkeypatch.setattr(tracker, "segmenting_remedy", lambda method: "")
    monkeypatch.setattr(tracker.Tracker, "_check_memory", lambda *_: None)


class Person:
    """Does things at random, and looks whether all is right."""

    def __init__(self, seed, folder):
        self.random, self.folder = random.Random(seed), folder
        self.open()

    def open(self):
        room = self.random.choice([0, 700, 3000, 1 << 20])
        self.page = Annotator(pure_session(self.folder, FRAMES, room))
        self.project = self.page.session._project

    def do(self):
        deed, frame = self.random.choice(DEEDS), self.random.randrange(FRAMES)
        objects = sorted(self.project.drawing.objects)
        session = self.page.session
        match deed:
            case "draw":
                self.draw(frame)
            case "track":
                last = self.random.choice([None, None, self.random.randrange(FRAMES)])
                told = self.page.track(frame, self.direction(), last)
                assert told.startswith("tracked to"), told
            case "end":
                session.end_object(self.random.choice(objects), frame)
            case "begin" if self.project.drawing.ended:
                at, id = self.random.choice(sorted(self.project.drawing.ended))
                session.end_object(id, at, undo_end=True)
            case "forget":
                session.forget(frame)
            case "undo":
                session.undo()
            case "redo":
                session.redo()
            case "add" if len(objects) < 4:
                session.add_object()
            case "delete" if len(objects) > 1 and self.random.random() < 0.3:
                session.delete_object(self.random.choice(objects))
            case "reopen":
                before = self.look()
                session.close()
                self.open()
                assert self.look() == before
            case "draw and undo":
                self.draw_and_undo(frame)

    def direction(self):
        return self.random.choice(["forward", "backward"])

    def draw(self, frame):
        labels = self.page.labels(frame).copy()
        row, column = self.random.randrange(5), self.random.randrange(7)
        id = self.random.choice([0, *self.project.drawing.objects])
        labels[row : row + 3, column : column + 3] = id
        self.page.draw(frame, labels)
        np.testing.assert_array_equal(self.page.labels(frame), labels)

    def draw_and_undo(self, frame):
        """What was right before is right again, bit by bit."""
        before, revision = self.look(), self.project.journal.revision
        self.draw(frame)
        if self.project.journal.revision == revision:
            return
        self.page.session.undo()
        for status, mask, status_now, mask_now in zip(*before, *self.look(), strict=1):
            if status == "m":
                assert (status_now, mask_now) == (status, mask)

    def look(self):
        masks = [labels.tobytes() for labels in self.page.all_labels()]
        return list(self.page.state["status"]), masks

    def check(self):
        for frame, status in enumerate(self.page.state["status"]):
            labels = self.page.labels(frame)
            gone = absent(self.project.drawing, frame)
            assert not set(np.unique(labels).tolist()) & gone
            made = self.project.shown.made(frame)
            drawn = self.project.drawing.frames.get(frame)
            if status == "." or made is None:
                given = 0 if drawn is None else self.project.map(drawn.labels)
                assert (labels == given).all()
            elif status == "m" and self.project.shown.is_valid(frame, made):
                way = self.project._log.passes[made.number]
                expected = afresh(self.project, way, frame)
                np.testing.assert_array_equal(labels, expected)
            elif status == "m":
                assert drawn is not None


@pytest.mark.parametrize(
    "seed",
    [*range(8), *(pytest.param(x, marks=pytest.mark.slow) for x in range(8, 200))],
)
def test_a_mask_that_is_not_stale_is_what_a_fresh_pass_gives(seed, tmp_path):
    person = Person(seed, tmp_path / "project")
    for _ in range(STEPS):
        try:
            person.do()
        except InputError as error:
            refused = ("shows no mask", "is drawn in frame")
            assert any(word in str(error) for word in refused), error
        person.check()
    person.page.session.close()
