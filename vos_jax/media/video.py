"""Frames of a video file, found by their timestamps."""

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from vos_jax.errors import InputError
from vos_jax.media.containers import is_cut_off

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})

# (position, frame) pairs; a generator, because it must be closed with its file.
_Decoded = Generator[tuple[int, Any], None, None]

# Frames held decoded at once when a video is read backwards.
_REVERSE_BLOCK = 32


class _Packet(NamedTuple):
    time: int | None
    is_key: bool
    shown: bool


class _Index(NamedTuple):
    """What the packets of a file say about its frames, without decoding.

    Attributes:
      times: Presentation times in stream units, ascending.
      keys: Positions in `times` at which decoding can start, ascending, from 0 on.
      unique: Whether a time names one frame; if not, frames are found by counting
        from the first, which makes late starts and reading backwards slow.
      ends_early: Whether the file is cut off.
    """

    times: list[int]
    keys: list[int]
    unique: bool
    ends_early: bool

    def find(self, time: int | None) -> int | None:
        """Returns the position of a frame time; None if no frame has it."""
        if time is None:
            return None
        i = bisect_left(self.times, time)
        return i if i < len(self.times) and self.times[i] == time else None


class VideoFrames:
    """The frames of the first or best video stream of a file, in display order.

    Packets are read once to find frame times and key frames; that is a matter of file
    reading, not of decoding. A file that is cut off gives the frames it has, then
    raises. Pixels are converted by the matrix the file declares, BT.601 if none.
    """

    def __init__(self, path: str | Path) -> None:
        """Indexes the file and decodes one frame.

        Raises:
          InputError: The file is no video, is damaged, or holds no frame.
        """
        self.path = Path(path)
        try:
            with _open(self.path) as container:
                stream = _stream(self.path, container)
                rate = stream.average_rate or stream.guessed_rate
                self.fps = float(rate) if rate else None
                self._index = _read_index(self.path, container, stream)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(
                f"{self.path} cannot be read as a video ({_reason(error)}); "
                "copy or export it again"
            ) from error
        self._count = len(self._index.times)
        if self._index.ends_early:
            self._count = self._count_decodable()
        first = next(self._decode(0, 1), None) if self._count else None
        if first is None:
            raise InputError(f"{self.path} holds no frame that can be decoded")
        height, width = _upright(first[1]).shape[:2]
        self.size = (height, width)
        self.names = [f"{i:05d}" for i in range(self._count)]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()

    def __reversed__(self) -> Iterator[np.ndarray]:
        return self.reversed()

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yields frame `start` and those after it.

        Raises:
          InputError: After the last good frame of a file that is cut off or damaged.
        """
        expected = min(start, self._count)
        with closing(self._decode(start, self._count)) as decoded:
            for i, frame in decoded:
                self._check_position(expected, i)
                yield self._to_rgb(frame, i)
                expected += 1
        self._check_position(expected, self._count)
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
        while stop > 0:
            begin = self._block_start(stop)
            with closing(self._decode(begin, stop)) as decoded:
                block = dict(decoded)
            for i in range(stop - 1, begin - 1, -1):
                if i not in block:
                    raise self._damage(i)
                yield self._to_rgb(block.pop(i), i)
            stop = begin
        if start is None:
            self._check_end()

    def _block_start(self, stop: int) -> int:
        """Prefers a key frame, from which nothing is decoded in vain."""
        begin = max(0, stop - _REVERSE_BLOCK)
        keys = self._index.keys
        key = bisect_left(keys, begin)
        return keys[key] if key < len(keys) and keys[key] < stop else begin

    def _decode(self, start: int, stop: int) -> _Decoded:
        """Yields (position, frame) of the frames in [start, stop) that decode."""
        keys = self._index.keys
        key = keys[bisect_right(keys, start) - 1]
        decoded = self._decode_from(key, stop)
        first = next((pair for pair in decoded if pair[0] >= start), None)
        if key > 0 and (first is None or first[0] > start):
            # The seek went too far, as it does in some files: read from the beginning.
            decoded.close()
            decoded = self._decode_from(0, stop)
            first = next((pair for pair in decoded if pair[0] >= start), None)
        if first is not None:
            yield first
            yield from decoded

    def _decode_from(self, key: int, stop: int) -> _Decoded:
        """Decodes from a key frame on; what cannot be decoded is left out."""
        index = self._index
        with _open(self.path) as container:
            stream = _stream(self.path, container)
            stream.thread_type = "AUTO"
            if key > 0:
                container.seek(index.times[key], stream=stream)
            for count, frame in enumerate(_decodable(container, stream, index.unique)):
                i = index.find(frame.pts) if index.unique else count
                if i is None:
                    continue
                if i >= stop:
                    return
                yield i, frame

    def _count_decodable(self) -> int:
        """Counts the frames that survive a cut: some need packets that are gone."""
        begin = self._index.keys[-2:][0]
        decoded = {i for i, _ in self._decode(begin, self._count)}
        while begin in decoded:
            begin += 1
        return begin

    def _to_rgb(self, frame: Any, i: int) -> np.ndarray:
        rgb = _upright(frame)
        if rgb.shape[:2] != self.size:
            raise InputError(
                f"{self.path} changes its size at frame {i:05d}; re-encode it to one "
                "size"
            )
        return rgb

    def _check_position(self, expected: int, found: int) -> None:
        if found != expected:
            raise self._damage(expected)

    def _check_end(self) -> None:
        if self._index.ends_early:
            raise InputError(
                f"{self.path} is cut off: it ends before frame {self._count:05d}; "
                "copy or download it again"
            )

    def _damage(self, i: int) -> InputError:
        return InputError(
            f"{self.path} is damaged: frame {i:05d} cannot be decoded; re-encode the "
            "file or cut it there"
        )


def _open(path: Path) -> Any:
    # The prefix keeps a colon in the name from being read as a protocol, and broken
    # titles or comments are nothing to stop for.
    return av.open(f"file:{path}", metadata_errors="ignore")


def _stream(path: Path, container: Any) -> Any:
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{path} has no video stream; give a video file")
    return stream


def _read_index(path: Path, container: Any, stream: Any) -> _Index:
    packets, ends_early = _read_packets(container, stream)
    ends_early = ends_early or is_cut_off(path)
    shown = [packet for packet in packets if packet.shown]
    times = [packet.time for packet in shown if packet.time is not None]
    unique = len(set(times)) == len(shown)
    if not unique or _times_are_guessed(container, stream):
        return _Index(list(range(len(shown))), [0], False, ends_early)
    key_times = [p.time for p in packets if p.is_key and p.time is not None]
    # Frames shown before the first key frame refer to packets that are not there.
    begin = min(key_times, default=min(times, default=0))
    times = sorted(time for time in times if time >= begin)
    keys = {bisect_left(times, time) for time in key_times}
    return _Index(times, sorted((keys - {len(times)}) | {0}), True, ends_early)


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


def _times_are_guessed(container: Any, stream: Any) -> bool:
    """AVI has no times of display, and reordered H.264 frames get wrong ones."""
    codec = stream.codec_context
    is_reordered = codec.name in {"h264", "hevc"} and bool(codec.has_b_frames)
    return container.format.name == "avi" and is_reordered


def _read_packets(container: Any, stream: Any) -> tuple[list[_Packet], bool]:
    """Reads all packets of the stream; also tells whether reading broke off."""
    packets: list[_Packet] = []
    hides_frames = stream.codec_context.name == "vp8"
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                return packets, True
            if not packet.size:
                continue
            # RFC 6386 section 9.1: bit 4 of a VP8 packet tells whether it is shown.
            hidden = hides_frames and not bytes(packet)[0] & 0x10
            shown = not (hidden or packet.is_discard)
            packets.append(_Packet(packet.pts, packet.is_keyframe, shown))
    except (av.error.FFmpegError, OSError):
        return packets, True
    return packets, False


def _upright(frame: Any) -> np.ndarray:
    rgb = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
