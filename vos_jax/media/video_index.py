"""What the packets of a video say about its frames, without decoding."""

from bisect import bisect_left, bisect_right
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import av

from vos_jax.media.containers import is_cut_off

# Frames that may have to wait, decoded, for one shown after them that they refer to.
_FARTHEST = 32
# As far as x264 reaches; taken where a file does not give the order of decoding.
_USUAL_REACH = 16


# What a lost block of a disk or a download leaves: bytes that no entropy coder writes.
_HOLE = bytes(64)
_DENSE_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d"})


class _Packet(NamedTuple):
    time: int | None
    is_key: bool
    shown: bool
    has_hole: bool


class Index(NamedTuple):
    """Times, key frames and order of decoding of the frames of a video.

    Attributes:
      times: Presentation times in stream units, ascending.
      keys: Positions in `times` at which decoding can start, ascending, from 0 on.
      unique: Whether a time names one frame; if not, frames are found by counting
        from the first, which makes late starts and reading backwards slow.
      ends_early: Whether the file is cut off.
      order: Positions in the order in which they are decoded; empty if not known.
      holes: Positions whose packets have holes, of which decoders need not notice.
    """

    times: list[int]
    keys: list[int]
    unique: bool
    ends_early: bool
    order: list[int]
    holes: frozenset[int]

    def find(self, time: int | None) -> int | None:
        """Returns the position of a frame time; None if no frame has it."""
        if time is None:
            return None
        i = bisect_left(self.times, time)
        return i if i < len(self.times) and self.times[i] == time else None

    def key_before(self, position: int) -> int:
        """Returns the last key frame that is not after `position`."""
        return self.keys[bisect_right(self.keys, position) - 1]

    def settled_at(self) -> list[int]:
        """Tells for each frame which one must have come before it is known to be whole.

        That is the last one shown of those decoded before it, which it may refer to.
        """
        last = len(self.times) - 1
        if not self.order:
            return [min(i + _USUAL_REACH, last) for i in range(last + 1)]
        settled = list(range(last + 1))
        for i, latest in zip(self.order, accumulate(self.order, max), strict=True):
            settled[i] = min(latest, i + _FARTHEST)
        return settled

    def reach(self, position: int) -> range:
        """Returns the frames that damage of one frame may spoil.

        Those decoded from it up to the next key frame may refer to it, and some of them
        are shown before it. So may those decoded after that key frame and shown before.
        """
        if not self.order:
            return range(max(0, position - _USUAL_REACH), len(self.times))
        keys, begin = set(self.keys), self.order.index(position)
        key = next((i for i in self.order[begin::-1] if i in keys), 0)
        later = self.order[begin + 1 :]
        following = list(takewhile(lambda i: i not in keys, later))
        if position < key:
            return range(min([position, *(i for i in following if i < key)]), key)
        stop = [*later[len(following) :], len(self.times)][0]
        return range(min([position, *following]), stop)


def read_index(path: Path, container: Any, stream: Any) -> Index:
    """Reads all packets of a stream; the container is at its end afterwards."""
    packets, ends_early = _read_packets(container, stream)
    ends_early = ends_early or is_cut_off(path)
    shown = [packet for packet in packets if packet.shown]
    times = [packet.time for packet in shown if packet.time is not None]
    unique = len(set(times)) == len(shown)
    if not unique or _times_are_guessed(container, stream):
        holes = frozenset(i for i, packet in enumerate(shown) if packet.has_hole)
        return Index(list(range(len(shown))), [0], False, ends_early, [], holes)
    key_times = [p.time for p in packets if p.is_key and p.time is not None]
    hole_times = {p.time for p in packets if p.has_hole and p.time is not None}
    # Frames shown before the first key frame refer to packets that are not there.
    begin = min(key_times, default=min(times, default=0))
    decoded = [time for time in times if time >= begin]
    times = sorted(decoded)
    position = {time: i for i, time in enumerate(times)}
    keys = {bisect_left(times, time) for time in key_times}
    return Index(
        times,
        sorted((keys - {len(times)}) | {0}),
        True,
        ends_early,
        [position[time] for time in decoded],
        frozenset(position[time] for time in hole_times if time in position),
    )


def _times_are_guessed(container: Any, stream: Any) -> bool:
    """AVI has no times of display, and reordered H.264 frames get wrong ones."""
    codec = stream.codec_context
    is_reordered = codec.name in {"h264", "hevc"} and bool(codec.has_b_frames)
    return container.format.name == "avi" and is_reordered


def _read_packets(container: Any, stream: Any) -> tuple[list[_Packet], bool]:
    """Reads all packets of the stream; also tells whether reading broke off."""
    packets: list[_Packet] = []
    codec = stream.codec_context.name
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                return packets, True
            if not packet.size:
                continue
            # RFC 6386 section 9.1: bit 4 of a VP8 packet tells whether it is shown.
            hidden = codec == "vp8" and not bytes(packet)[0] & 0x10
            shown = not (hidden or packet.is_discard)
            has_hole = codec in _DENSE_CODECS and _has_hole(bytes(packet))
            packets.append(_Packet(packet.pts, packet.is_keyframe, shown, has_hole))
    except (av.error.FFmpegError, OSError):
        return packets, True
    return packets, False


def _has_hole(data: bytes) -> bool:
    # Some cameras pad packets with zeros.
    dense = data.rstrip(b"\0")
    return _HOLE in dense or 2 * len(dense) < len(data)
