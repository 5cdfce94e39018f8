"""A network that hashes all that it has seen, and a video for it: masks in no time.

Two of its masks are equal where their histories are, and hardly elsewhere.
"""

import hashlib
from pathlib import Path

import numpy as np

from vos_jax.app.project import Project
from vos_jax.app.session import Session
from vos_jax.app.tracker import Model

SIZE = (6, 8)


class Video:
    """Frames that say which one they are."""

    fps = None
    size = SIZE

    def __init__(self, length):
        self.names = [f"{index:05d}" for index in range(length)]

    def __len__(self):
        return len(self.names)

    def frame(self, index):
        return np.full((*SIZE, 3), index, np.uint8)

    def frames(self, start=0):
        return map(self.frame, range(start, len(self)))

    def reversed(self, start=None):
        start = len(self) - 1 if start is None else start
        return map(self.frame, range(start, -1, -1))


class Pending:
    def __init__(self, time, labels):
        self.time, self.labels = time, labels

    def result(self):
        return self


class Network:
    """Stands for `VideoSegmenter`. Its state is a digest and the ids that it knows."""

    def __init__(self, *network, **options):
        self.index, self.views = 0, ()

    @property
    def ids(self):
        return [int(id) for id in np.flatnonzero(self.views[0][1])]

    def __call__(self, frame, labels=None, ids=None, inputs=None):
        if not self.views:
            assert labels.any(), "there is nothing to begin with"
            ids = [int(id) for id in np.unique(labels) if id]
            self._take(ids, frame, labels)
            shown = labels
        else:
            self._take(self.ids, frame)
            shown = self._guess()
        if self.index and labels is not None:
            shown = np.where(np.isin(shown, ids), 0, shown)
            shown = np.where(np.isin(labels, ids), labels, shown).astype(np.uint8)
            self._take({*self.ids, *ids}, labels, np.array(ids))
        self.index += 1
        return Pending(self.index - 1, shown)

    def remove(self, id):
        assert id in self.ids
        self._take(set(self.ids) - {id}, np.array(id))

    def restore(self, saved, corrections=0):
        self.views = (tuple(leaf.copy() for leaf in saved.leaves),)
        self.index = saved.position

    def _take(self, ids, *seen):
        state = hashlib.sha256(self.views[0][0].tobytes() if self.views else b"")
        for array in seen:
            state.update(array.tobytes())
        known = np.zeros(256, np.uint8)
        known[list(ids)] = 1
        self.views = ((np.frombuffer(state.digest(), np.uint8).copy(), known),)

    def _guess(self):
        rng = np.random.default_rng(self.views[0][0])
        return rng.choice(np.array([0, 0, *self.ids], np.uint8), SIZE)


def pure_session(folder, length, state_bytes=1 << 20):
    """A session on such a video."""
    video = Video(length)
    folder.mkdir(exist_ok=True)
    project = Project(folder, video, {"frames": length}, "model")
    model = Model(None, {}, "pure", "model")
    return Session(project, video, Path("video"), model, state_bytes=state_bytes)


def afresh(project, way, frame):
    """The mask of a frame by a pass that begins anew, with all that is drawn now.

    Says once more, and plainly, what the project works out by digests.
    """
    drawing, network, labels = project.drawing, Network(), None
    for position in range(way.position(frame) + 1):
        at = way.frame(position)
        gone = absent(drawing, at)
        drawn = drawing.frames.get(at)
        given = None if drawn is None else project.map(drawn.labels)
        if position == 0:
            labels = over(project.map(way.base), given, drawn)
            labels = np.where(np.isin(labels, list(gone)), 0, labels).astype(np.uint8)
            network(Video(0).frame(at), labels)
            continue
        for id in sorted(gone & set(network.ids)):
            network.remove(id)
        ids = []
        if drawn is not None:
            seen = set(np.unique(given).tolist())
            ids = [id for id in drawn.ids if id in seen | set(network.ids)]
        image = Video(0).frame(at)
        pending = network(image, given, ids) if ids else network(image)
        labels = over(pending.labels, given, drawn)
    return labels


def over(labels, given, drawn):
    if drawn is None:
        return labels
    return np.where(given > 0, given, np.where(np.isin(labels, drawn.ids), 0, labels))


def absent(drawing, frame):
    """Ids that are not in a frame: ended and not drawn since, or no objects."""
    gone = set(range(1, 255)) - set(drawing.objects)
    for id in drawing.objects:
        ends = [at for at, other in drawing.ended if other == id and at <= frame]
        draws = [at for at, x in drawing.frames.items() if id in x.seen and at <= frame]
        if ends and max(ends) > max(draws, default=-1):
            gone.add(id)
    return gone
