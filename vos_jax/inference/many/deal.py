"""Which device segments what: videos of one working size stay together."""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from vos_jax.inference.announce import plural
from vos_jax.inference.capacity import segmenting_remedy, slots_for, state_bytes
from vos_jax.inference.many.batch import Batch, Room
from vos_jax.inference.many.videos import Known, Spread, Video, count_frames
from vos_jax.inference.segmenter import working_size
from vos_jax.methods.base import Method
from vos_jax.runtime.out_of_memory import check_memory


def by_size(videos: Iterable[Known], size: int | None) -> list[list[Known]]:
    """Videos by their working size; `size` is its shorter side where that is given."""
    groups: dict[tuple[int, int], list[Known]] = {}
    for known in videos:
        groups.setdefault(working_size(*known.facts.size, size), []).append(known)
    return list(groups.values())


class Group:
    """Videos of one working size, and the batches that they are segmented in."""

    def __init__(
        self,
        method: Method,
        videos: Sequence[Known],
        spread: Spread,
        size: int | None,
        flip: bool,
    ) -> None:
        facts = [known.facts for known in videos]
        self._method, self._size, self._flip = method, size, flip
        # The long ones first: then all places are in use until near the end.
        self.left = deque(sorted(videos, key=lambda known: -known.facts.frames))
        self.is_begun = False
        self.places = min(spread.videos, len(videos))
        self._devices = max(1, len(spread.devices))
        self._working = working_size(*facts[0].size, size)
        self._room = Room(
            frames=max(each.reserve for each in facts),
            slots=max(slots_for(method, x.reserve, x.corrections) for x in facts),
            objects=max(each.objects for each in facts),
        )

    def check_memory(self, variables: Mapping[str, Any]) -> None:
        """Refuses what the states of a batch certainly have no room for.

        One video at a time looks for itself, when it begins.
        """
        if self.places == 1:
            return
        room, (height, width) = self._room, self._working
        one = state_bytes(
            *(self._method, self._working, room.objects, room.frames),
            variables=variables,
        )
        videos, remedy = self.places, segmenting_remedy(self._method)
        # What are devices to JAX share the memory of one machine.
        if jax.default_backend() == "cpu":
            videos = min(videos * self._devices, len(self.left))
        remedy = f"use fewer --videos or --devices, {remedy.removeprefix('use ')}"
        check_memory(
            f"the states of {plural(videos, 'video')} of {width}x{height} at once, up"
            f" to {room.frames} frames with {plural(room.objects, 'object')}",
            one * videos * (1 + self._flip),
            remedy,
        )

    def batch(self, method: Method, variables: Mapping[str, Any]) -> Batch | None:
        """Places on one device; None for one video at a time."""
        if self.places == 1:
            return None
        return Batch(
            *(method, variables, self.places, self._room),
            size=self._size,
            flip=self._flip,
        )


class Deal:
    """Which device does what next."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._lock = threading.Lock()

    def left(self) -> list[Known]:
        """What nobody has begun."""
        return [known for group in self._groups for known in group.left]

    def next_group(self) -> tuple[Group, list[Video]] | None:
        """A size for a device, with a first video for each place; None at the end."""
        with self._lock:
            left = [group for group in self._groups if group.left]
            if not left:
                return None
            # A size that no device has programs for, else the one with most to do.
            group = max(left, key=lambda x: (not x.is_begun, count_frames(x.left)))
            group.is_begun = True
            count = min(group.places, len(group.left))
            return group, [group.left.popleft().video for _ in range(count)]

    def next_video(self, group: Group) -> Video | None:
        """The next one of a size."""
        with self._lock:
            return group.left.popleft().video if group.left else None
