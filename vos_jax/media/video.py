"""Frames of a video file, found by their timestamps."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from vos_jax.errors import InputError, warn
from vos_jax.media.source import REVERSE_BLOCK, FrameSource, in_reverse
from vos_jax.media.tones import count_values, tone_table
from vos_jax.media.video_index import read_index
from vos_jax.media.video_pixels import deep_values, depth, orientation_of, upright_rgb

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})
"""Of files that are taken for videos."""


class _Shown(NamedTuple):
    """A frame in its place.

    Attributes:
      position: Its number.
      frame: As decoded, or the one before where it does not decode; None if neither.
      culprit: The damaged frame, this or another, that it may be spoilt by.
    """

    position: int
    frame: Any
    culprit: int | None


# Generators, because they must be closed with their files.
_Decoded = Generator[tuple[int, Any], None, None]
_Judged = Generator[_Shown, None, None]


class VideoFrames(FrameSource):
    """The frames of the first or best video stream of a file, in display order.

    Packets are read once to find frame times and key frames; that is a matter of file
    reading, not of decoding. A file that is cut off or damaged gives the frames before
    that, then raises. A frame counts as damaged where FFmpeg says so or its packet has
    a hole, and with it those that may refer to it, up to the next key frame.

    Pixels are converted by the matrix the file declares, BT.601 if none. Grey and RGB
    of more than 8 bits are shown by one table for all frames, for which the file is
    decoded once more.
    """

    def __init__(self, path: str | Path, *, allow_damaged: bool = False) -> None:
        """Indexes the file and decodes one frame.

        Args:
          path: The file.
          allow_damaged: Give damaged frames as they decode, or the one before where
            they do not, with a warning, and end a file that is cut off with a warning.

        Raises:
          InputError: The file is no video, is damaged, or holds no frame.
        """
        self.path = Path(path)
        self._allow_damaged = allow_damaged
        try:
            with _open(self.path) as container:
                stream = _stream(self.path, container)
                rate = stream.average_rate or stream.guessed_rate
                self.fps = float(rate) if rate else None
                self._index = read_index(self.path, container, stream)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(
                f"{self.path} cannot be read as a video ({_reason(error)}); "
                "copy or export it again"
            ) from error
        self._settled_at = self._index.settled_at()
        self._count = len(self._index.times)
        if self._index.ends_early:
            self._count = self._count_decodable()
        first = self._first_frame() if self._count else None
        if first is None:
            raise InputError(f"{self.path} holds no frame that can be decoded")
        orientation, is_slanted = orientation_of(first)
        self.size = orientation.size(first.height, first.width)
        self.names = [f"{i:05d}" for i in range(self._count)]
        if is_slanted:
            warn(
                f"{self.path} is to be shown at an angle that is no right one; its "
                "frames are turned to the nearest right angle; re-encode it upright if "
                "the masks do not fit"
            )

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yields frame `start` and those after it.

        Raises:
          InputError: After the last whole frame of a file that is cut off or damaged.
        """
        with closing(self._decode(start, self._count)) as decoded:
            for shown in decoded:
                yield self._picture(shown)
        self._check_end()

    def reversed(self, start: int | None = None) -> Iterator[np.ndarray]:
        """Yields frame `start` (the last one by default) and those before it.

        Decodes blocks of at most 32 frames, each from the key frame before it, so a
        video with rare key frames is decoded several times over.

        Raises:
          InputError: Before the first damaged frame, or at the end if the file is cut
            off.
        """
        stop = self._count if start is None else start + 1
        for shown in in_reverse(self._decode, stop, self._block_start):
            yield self._picture(shown)
        if start is None:
            self._check_end()

    def _block_start(self, stop: int) -> int:
        """Prefers a key frame, from which nothing is decoded in vain."""
        begin = max(0, stop - REVERSE_BLOCK)
        keys = (key for key in self._index.keys if begin <= key < stop)
        return next(keys, begin)

    def _decode(self, start: int, stop: int) -> _Judged:
        """Yields each frame in [start, stop)."""
        if start >= stop:
            return
        key = self._index.key_before(start)
        with closing(self._judge(key, start, stop)) as judged:
            for shown in judged:
                if key > 0 and shown.culprit is not None:
                    break
                yield shown
                start += 1
        if start < stop:
            # Some seeks go too far, or to where references are missing, and damage
            # needs the frame before: read from the beginning.
            yield from self._judge(0, start, stop)

    def _judge(self, key: int, start: int, stop: int) -> _Judged:
        """Decodes from a key frame on and holds a frame until it is known to be whole.

        Damage shows when the damaged frame is shown, which can be after frames that
        refer to it.
        """
        waiting: deque[tuple[int, Any]] = deque()
        damage: list[tuple[int, range]] = []
        latest = None
        end = self._settled_at[stop - 1] + 1
        with closing(self._decode_without_gaps(key, end)) as decoded:
            for newest, frame in decoded:
                is_missing = frame is None
                if is_missing or frame.is_corrupt or newest in self._index.holes:
                    damage.append((newest, self._index.reach(newest)))
                waiting.append((newest, frame))
                while waiting and self._settled_at[waiting[0][0]] <= newest:
                    i, frame = waiting.popleft()
                    latest = latest if frame is None else frame
                    damage = [(by, reach) for by, reach in damage if i < reach.stop]
                    culprits = (by for by, reach in damage if i in reach)
                    if start <= i < stop:
                        yield _Shown(i, latest, next(culprits, None))

    def _decode_without_gaps(self, key: int, stop: int) -> _Decoded:
        """Yields (position, frame) of all in [key, stop), None for a missing one."""
        expected = key
        with closing(self._decode_from(key, stop)) as decoded:
            for i, frame in decoded:
                if i < expected:
                    continue
                yield from ((missing, None) for missing in range(expected, i))
                yield i, frame
                expected = i + 1
        yield from ((missing, None) for missing in range(expected, stop))

    def _decode_from(self, key: int, stop: int) -> _Decoded:
        """Decodes from a key frame on; what cannot be decoded is left out."""
        index = self._index
        with _open(self.path) as container:
            stream = _stream(self.path, container)
            stream.thread_type = "AUTO"
            if self._allow_damaged:
                # What threads make of damage depends on which of them is the first.
                stream.codec_context.thread_count = 1
            if key > 0:
                container.seek(index.times[key], stream=stream)
            for count, frame in enumerate(_decodable(container, stream, index.unique)):
                i = index.find(frame.pts) if index.unique else count
                if i is None:
                    continue
                if i >= stop:
                    return
                yield i, frame

    def _first_frame(self) -> Any:
        """The first frame that decodes, whole or not; None if there is none."""
        with closing(self._decode_from(0, len(self._index.times))) as decoded:
            return next((frame for _, frame in decoded), None)

    def _count_decodable(self) -> int:
        """Counts the frames that survive a cut: some need packets that are gone."""
        begin = self._index.keys[-2:][0]
        count = self._count_from(begin)
        return count if count > begin else self._count_from(0)

    def _count_from(self, key: int) -> int:
        end = len(self._index.times)
        if self._allow_damaged:
            return max((i + 1 for i, _ in self._decode_from(key, end)), default=key)
        judged = self._judge(key, key, end)
        return key + sum(1 for _ in takewhile(lambda s: s.culprit is None, judged))

    def _picture(self, shown: _Shown) -> np.ndarray:
        """Converts a frame, if it is whole or damage is allowed."""
        if shown.culprit is not None:
            self._tell_damage(shown.culprit)
        frame = self._first_frame() if shown.frame is None else shown.frame
        rgb = upright_rgb(frame, self._tones)
        if rgb.shape[:2] != self.size:
            raise InputError(
                f"{self.path} changes its size at frame {shown.position:05d}; "
                "re-encode it to one size"
            )
        return rgb

    @cached_property
    def _tones(self) -> np.ndarray | None:
        """What to show for values of more than 8 bits; None to let FFmpeg decide."""
        bits = depth(self._first_frame())
        if bits == 8:
            return None
        with closing(self._decode_from(0, self._count)) as decoded:
            whole = (frame for _, frame in decoded if not frame.is_corrupt)
            counts = count_values(deep_values(frame) for frame in whole)
        return tone_table(counts, self.path, bits)

    def _tell_damage(self, culprit: int) -> None:
        reach = self._index.reach(culprit)
        damage = f"{self.path} is damaged: frame {culprit:05d} does not decode whole"
        if len(reach) > 1:
            damage += f", which may spoil frames {reach[0]:05d} to {reach[-1]:05d}"
        if not self._allow_damaged:
            raise InputError(
                f"{damage}; copy the file again, cut it there, or go on past the "
                "damage with --allow-damaged (allow_damaged=True)"
            )
        warn(
            f"{damage}; damaged frames are taken as they decode, or repeat the one "
            "before where they do not: check their masks"
        )

    def _check_end(self) -> None:
        if not self._index.ends_early:
            return
        message = f"{self.path} is cut off: it ends before frame {self._count:05d}"
        if not self._allow_damaged:
            raise InputError(f"{message}; copy or download it again")
        warn(f"{message}; what it has was taken; copy or download it again")


def _open(path: Path) -> Any:
    # The prefix keeps a colon in the name from being read as a protocol, and broken
    # titles or comments are nothing to stop for, which PyAV 19 needs not be told.
    old = int(av.__version__.partition(".")[0]) < 19
    return av.open(f"file:{path}", **({"metadata_errors": "ignore"} if old else {}))


def _stream(path: Path, container: Any) -> Any:
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{path} has no video stream; give a video file")
    return stream


def _decodable(container: Any, stream: Any, skip_damage: bool) -> Iterator[Any]:
    """Decodes packet by packet: threads still hold good frames when one fails."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError):
            return
        if packet is None:
            return
        try:
            frames = stream.decode(packet)
        except (av.error.FFmpegError, OSError):
            if not skip_damage:
                return
            continue
        yield from frames


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
