"""Videos of one working size, segmented together: each has a place in a batch.

The program of a batch steps all places at once, `vmap` over the step of one video, and
depends on the size, the number of places and the room that each has, never on which
videos are there: when one ends, the next takes its place. Every video is driven by a
thread of its own, as a video alone is by its caller; the step runs when all are ready
for it. A place in the batch is a `VideoSegmenter` to whoever drives it.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vos_jax.inference.capacity import enlarge, room_of
from vos_jax.inference.objects import forget_objects
from vos_jax.inference.segmenter import (
    Pending,
    VideoSegmenter,
    show_views,
    step_views,
)
from vos_jax.inference.state import State
from vos_jax.methods.base import Method

Views = tuple[State, ...]
"""States of a video: one, or those of the frame and its mirror image."""


class Room(NamedTuple):
    """What every place of a batch has room for.

    Attributes:
      frames: Length of the longest video.
      slots: Slots of the memory.
      objects: Object slots.
    """

    frames: int
    slots: int
    objects: int


class Batch:
    """Places for videos that are segmented together, on the thread's device."""

    def __init__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        places: int,
        room: Room,
        *,
        size: int | None = None,
        flip: bool = False,
    ) -> None:
        """Allocates nothing before the first video begins.

        Args:
          method: From `inference_form`.
          variables: Its weights, on the device that is to do the work.
          places: Videos at once.
          room: Of each place.
          size: As for `VideoSegmenter`.
          flip: As for `VideoSegmenter`.
        """
        self.room = room
        self.network = method, variables
        self.size, self.flip = size, flip
        self._changed = threading.Condition()
        self._views: Views = ()
        self._free = list(range(places))[::-1]
        self._places = places
        self._occupied: set[int] = set()
        self._ready: dict[int, tuple[Array, Any]] = {}
        self._failure: BaseException | None = None

    @contextmanager
    def place(self, with_probs: bool, objects: int) -> Iterator["Place"]:
        """A place for one video, which is free again at the end; waits for one.

        Args:
          with_probs: As for `VideoSegmenter`.
          objects: Of the video, which has no more than the place has room for.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free and self._failure is None)
            number = self._free.pop()
        try:
            yield Place(self, number, with_probs, objects)
        finally:
            self._leave(number)

    def put(self, number: int, views: Views) -> None:
        """Lays the states of a video into a place.

        Raises:
          Exception: What failed then or in a step, in every place.
        """
        with self._changed:
            self._raise_failure()
            self._occupied.add(number)
            try:
                if not self._views:
                    self._views = _empty(views, self._places)
                self._views = _put(self._views, np.int32(number), views)
            except BaseException as error:
                self._fail(error)
                raise

    def take(self, number: int) -> Views:
        """The states of the video in a place."""
        with self._changed:
            views: Views = _take(self._views, np.int32(number))
            return views

    def show(
        self, number: int, full: tuple[int, int], with_probs: bool
    ) -> tuple[Int[Array, "H W"], Float[Array, "O+1 H W"] | None]:
        """Labels and probabilities of the latest frame in a place."""
        with self._changed:
            at = np.int32(number)
            shown: tuple[Array, Array | None]
            shown = _show_place(self._views, at, full, with_probs)
            return shown

    def step(self, number: int, frame: Float[Array, "h w 3"], inputs: Any) -> None:
        """Goes on by a frame; returns when all videos of the batch have.

        Raises:
          Exception: What the step raised, in every place.
        """
        with self._changed:
            self._ready[number] = frame, inputs
            self._step_if_ready()
            self._changed.wait_for(lambda: number not in self._ready)
            self._raise_failure()

    def _fail(self, error: BaseException) -> None:
        """Nobody waits for a step any more: the states of all may be gone."""
        self._failure = error
        self._ready.clear()
        self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _leave(self, number: int) -> None:
        with self._changed:
            was_occupied = number in self._occupied
            self._occupied.discard(number)
            if not self._occupied:
                # A step that failed takes all videos with it that it was for.
                self._views, self._failure = (), None
            elif was_occupied and self._failure is None:
                try:
                    # An empty place is read at no cost.
                    self._views = _vacate(self._views, np.int32(number))
                except BaseException as error:
                    self._fail(error)
            self._free.append(number)
            self._step_if_ready()
            self._changed.notify_all()

    def _step_if_ready(self) -> None:
        if not self._ready or self._ready.keys() < self._occupied:
            return
        try:
            if self._failure is None:
                # Whatever an empty place is given, it finds nothing.
                any_one = next(iter(self._ready.values()))
                given = [self._ready.get(n, any_one) for n in range(self._places)]
                frames, inputs = zip(*given, strict=True)
                self._views = step_places(*self.network, self._views, frames, inputs)
        except BaseException as error:
            self._fail(error)
        self._ready.clear()
        self._changed.notify_all()


class Place(VideoSegmenter):
    """One video of a batch.

    A saved state that has more room than a place, as one of a run of other videos may
    have, goes on by itself.
    """

    def __init__(
        self,
        batch: Batch,
        number: int,
        with_probs: bool,
        objects: int,
    ) -> None:
        """Prepares a video.

        Args:
          batch: Where it is one of several.
          number: Of its place.
          with_probs: As for `VideoSegmenter`.
          objects: Of the video.
        """
        super().__init__(
            *batch.network,
            size=batch.size,
            flip=batch.flip,
            with_probs=with_probs,
            length=batch.room.frames,
            objects=batch.room.objects,
        )
        self._batch, self._number, self._count = batch, number, objects

    @property
    def views(self) -> Views:
        """The video's states, or a copy of them where they are in the batch."""
        if self._own or not self.has_begun:
            return self._own
        return self._batch.take(self._number)

    @views.setter
    def views(self, views: Views) -> None:
        self._own = views

    def _hold(self, views: Iterable[State]) -> None:
        views = tuple(views)
        if all(map(self._has_room, views)):
            views = tuple(map(self._fit, views))
            self._batch.put(self._number, views)
        else:
            self._own = views
        self._ids = np.asarray(views[0].ids)

    def _has_room(self, view: State) -> bool:
        slots, objects = room_of(view)
        return slots <= self._batch.room.slots and objects <= self._batch.room.objects

    def _fit(self, view: State) -> State:
        room = self._batch.room
        if room_of(view) == (room.slots, room.objects):
            return view
        return enlarge(self._method, view, room.slots, room.objects)

    def _advance(self, frame: Array, inputs: Any, full: tuple[int, int]) -> Pending:
        if self._own:
            return self._of_this_video(super()._advance(frame, inputs, full))
        self._batch.step(self._number, frame, inputs)
        return self._latest(full)

    def _latest(self, full: tuple[int, int]) -> Pending:
        if self._own:
            return self._of_this_video(super()._latest(full))
        labels, probs = self._batch.show(self._number, full, self._with_probs)
        return self._of_this_video(Pending(self.index, labels, probs, self._ids))

    def _of_this_video(self, pending: Pending) -> Pending:
        """Without the object slots that other videos need."""
        probs = pending.probs
        if probs is not None and probs.shape[0] > self._count + 1:
            probs = probs[: self._count + 1]
        return pending._replace(probs=probs, ids=pending.ids[: self._count])


def _empty(views: Views, places: int) -> Views:
    """Places like one that holds `views`, with no object in any."""

    def empty(view: State) -> State:
        bare = _without_objects(view)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (places, *x.shape)), bare)

    return tuple(map(empty, views))


def _without_objects(view: State) -> State:
    gone = jnp.ones_like(view.first)
    return view._replace(
        ids=jnp.zeros_like(view.ids),
        first=~gone,
        memory=forget_objects(view.memory, gone),
    )


@partial(jax.jit, donate_argnums=0)
def _put(places: Views, number: Int[Array, ""], views: Views) -> Views:
    return jax.tree.map(lambda all, one: all.at[number].set(one), places, views)


@jax.jit
def _take(places: Views, number: Int[Array, ""]) -> Views:
    return jax.tree.map(lambda all: all[number], places)


@partial(jax.jit, donate_argnums=0)
def _vacate(places: Views, number: Int[Array, ""]) -> Views:
    bare = tuple(_without_objects(view) for view in _take(places, number))
    return _put(places, number, bare)


@partial(jax.jit, static_argnums=(2, 3))
def _show_place(
    places: Views, number: Int[Array, ""], full: tuple[int, int], with_probs: bool
) -> tuple[Array, Array | None]:
    return show_views(_take(places, number), full, with_probs)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def step_places(
    method: Method,
    variables: Mapping[str, Any],
    places: Views,
    frames: tuple[Float[Array, "h w 3"], ...],
    inputs: tuple[Any, ...],
) -> Views:
    """A step of every place, with a frame and what comes with it for each."""
    together = jax.tree.map(lambda *x: jnp.stack(x), *zip(frames, inputs, strict=True))
    return jax.vmap(partial(step_views, method, variables))(places, *together)


def compiled_batches() -> int:
    """Number of programs that step a batch, compiled so far in this process."""
    program: Any = step_places
    return int(program._cache_size())
