import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from vos_jax.errors import InputError, InputWarning
from vos_jax.media import video
from vos_jax.media.video import VideoFrames

FORMATS = [
    pytest.param("a.mp4", "libx264", {"g": "12", "bf": "2"}, id="mp4"),
    pytest.param("a.mov", "libx264", {"g": "250", "bf": "2"}, id="mov-one-key"),
    pytest.param("a.mkv", "libx264", {"g": "5", "bf": "0"}, id="mkv"),
    pytest.param("a.avi", "mjpeg", {}, id="avi"),
    pytest.param("b.avi", "mpeg4", {"g": "12", "bf": "2"}, id="avi-mpeg4"),
    pytest.param("c.avi", "libx264", {"g": "12", "bf": "2"}, id="avi-h264"),
    pytest.param("a.webm", "libvpx-vp9", {"cpu-used": "8"}, id="webm"),
]


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a.astype(int) - b.astype(int)).mean() < 12)


@pytest.mark.parametrize(("name", "codec", "options"), FORMATS)
def test_frames_come_in_order_twice_and_backwards(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], film, encode
):
    frames = film(40)
    source = VideoFrames(encode(tmp_path / name, frames, codec, **options))
    decoded = list(source)
    assert len(decoded) == len(source) == 40
    assert source.size == (48, 64) and source.fps == 25
    assert source.names[0] == "00000" and source.names[39] == "00039"
    assert decoded[0].dtype == np.uint8 and decoded[0].flags.c_contiguous
    assert all(map(close, decoded, frames))
    assert all(map(np.array_equal, source, decoded))
    backwards = list(reversed(source))
    assert len(backwards) == 40
    assert all(map(np.array_equal, backwards, decoded[::-1]))


@pytest.mark.parametrize(("name", "codec", "options"), FORMATS)
def test_any_frame_can_be_the_first(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], film, encode
):
    source = VideoFrames(encode(tmp_path / name, film(40), codec, **options))
    decoded = list(source)
    for start in (1, 13, 24, 39):
        assert np.array_equal(next(source.frames(start)), decoded[start])
        backwards = list(islice(source.reversed(start), 3))
        assert all(map(np.array_equal, backwards, decoded[start::-1]))
    assert len(list(source.frames(38))) == 2
    assert list(source.frames(40)) == []


def test_uneven_times_do_not_confuse_the_order(tmp_path: Path, film, encode):
    times = [0, 1, 5, 6, 20, 21, 22, 50, 51, 90]
    source = VideoFrames(encode(tmp_path / "a.mkv", film(10), times=times, g="4"))
    decoded = list(source)
    assert len(source) == 10
    assert np.array_equal(next(source.frames(7)), decoded[7])


def test_backwards_holds_no_more_than_a_block(
    tmp_path: Path, monkeypatch, film, encode
):
    source = VideoFrames(encode(tmp_path / "a.mp4", film(40), g="250"))
    asked: list[tuple[int, int]] = []
    decode = source._decode

    def noted(start: int, stop: int) -> Iterator[tuple[int, object]]:
        asked.append((start, stop))
        return decode(start, stop)

    monkeypatch.setattr(source, "_decode", noted)
    monkeypatch.setattr(video, "REVERSE_BLOCK", 16)
    assert len(list(source.reversed())) == 40
    assert asked == [(24, 40), (8, 24), (0, 8)]


def test_a_seek_that_goes_too_far_is_made_good(
    tmp_path: Path, monkeypatch, film, encode
):
    source = VideoFrames(encode(tmp_path / "a.mp4", film(40), g="10", bf="0"))
    expected = list(source)[22]
    monkeypatch.setattr(source, "_index", source._index._replace(keys=[0, 10, 20, 30]))
    decode_from = source._decode_from
    monkeypatch.setattr(
        source,
        "_decode_from",
        lambda key, stop: decode_from(30 if key == 20 else key, stop),
    )
    assert np.array_equal(next(source.frames(22)), expected)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_a_rotated_video_is_turned_upright(tmp_path: Path, degrees: int, film, encode):
    if not hasattr(VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a rotation")
    frames = film(3)
    source = VideoFrames(encode(tmp_path / "a.mp4", frames, rotation=degrees))
    upright = np.rot90(frames[0], degrees // 90)
    assert source.size == upright.shape[:2]
    assert close(next(iter(source)), upright)


CUT = [
    pytest.param("a.mp4", "libx264", {"movflags": "faststart"}, id="mp4"),
    pytest.param("a.mkv", "libx264", {}, id="mkv"),
    pytest.param("a.webm", "libvpx-vp9", {}, id="webm"),
    pytest.param("a.avi", "mjpeg", {}, id="avi"),
]


@pytest.mark.parametrize(("name", "codec", "container_options"), CUT)
def test_a_cut_file_gives_what_it_has_and_then_says_so(
    tmp_path: Path,
    name: str,
    codec: str,
    container_options: dict[str, str],
    film,
    encode,
):
    frames = film(40)
    path = encode(
        tmp_path / name, frames, codec, container_options=container_options, g="10"
    )
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    source = VideoFrames(path)
    assert 0 < len(source) < 40
    got: list[np.ndarray] = []
    with pytest.raises(InputError) as error:
        for frame in source:
            got.append(frame)
    assert all(map(close, got, frames)) and len(got) == len(source)
    assert str(path) in str(error.value)
    assert f"before frame {len(source):05d}" in str(error.value)
    backwards: list[np.ndarray] = []
    with pytest.raises(InputError, match="cut off"):
        for frame in source.reversed():
            backwards.append(frame)
    assert all(map(np.array_equal, backwards, got[::-1]))
    assert len(backwards) == len(source)


def test_damage_in_the_middle_names_the_frame(tmp_path: Path, film, encode):
    path = encode(tmp_path / "a.avi", film(20), "mjpeg")
    data = bytearray(path.read_bytes())
    tenth = eleventh = data.index(b"movi")
    for _ in range(11):
        tenth, eleventh = eleventh, data.index(b"00dc", eleventh + 1)
    tenth, eleventh = eleventh + 8, data.index(b"00dc", eleventh + 1)
    data[tenth:eleventh] = bytes(eleventh - tenth)
    path.write_bytes(data)
    source = VideoFrames(path)
    got: list[np.ndarray] = []
    with pytest.raises(InputError, match=r"a\.avi is damaged: frame 00010"):
        for frame in source:
            got.append(frame)
    assert len(got) == 10
    with pytest.raises(InputError, match="frame 00010"):
        list(source.reversed())


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4 cannot be read as a video") as error:
        VideoFrames(tmp_path / "a.mp4")
    assert "\n" not in str(error.value)


def test_sound_alone_is_no_video(tmp_path: Path, encode):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = np.zeros((1, 800), np.int16)
        sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no video stream"):
        VideoFrames(tmp_path / "a.mkv")


def test_a_colon_in_the_name_is_no_protocol(tmp_path: Path, film, encode):
    path = encode(tmp_path / "take:1.mp4", film(2))
    assert len(VideoFrames(path)) == 2


def test_a_title_that_is_no_text_is_nothing_to_stop_for(tmp_path: Path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "na\u00efve"
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 24), np.uint8), format="gray")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert content.count("\u00ef".encode()) == 1
    path.write_bytes(content.replace("\u00ef".encode(), b"\xff\xff"))
    assert len(VideoFrames(path)) == 1


def spoil(path: Path, packet: int, filling: int | None = 0, part: int = 4) -> None:
    """Overwrites a packet, counted in decoding order, except for the first part."""
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[packet]
    data = bytearray(path.read_bytes())
    begin, end = position + size // part, position + 3 * size // 4
    noise = np.random.default_rng(packet).integers(0, 256, end - begin, np.uint8)
    data[begin:end] = noise.tobytes() if filling is None else bytes(end - begin)
    path.write_bytes(data)


def noisy(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Frames whose packets are large."""
    rng = np.random.default_rng(0)
    return [(f // 2 + rng.integers(0, 64, f.shape)).astype(np.uint8) for f in frames]


X264 = {"g": "6", "sc_threshold": "0", "b_strategy": "0"}
DAMAGED = [
    # Codec, options, the packet that is spoilt, the frame named and those it reaches.
    pytest.param("a.avi", "mpeg4", {"g": "6"}, 8, None, 8, (8, 11), id="flagged"),
    pytest.param("a.avi", "mpeg4", {"g": "6"}, 6, None, 6, (6, 11), id="key"),
    pytest.param("a.mp4", "libx264", X264 | {"bf": "0"}, 8, 0, 8, (8, 11), id="P"),
    pytest.param(
        # Decoded as 6 10 8 7 9 11; those before 10 refer to it.
        "a.mkv",
        "libx264",
        X264 | {"bf": "3"},
        7,
        0,
        10,
        (7, 11),
        id="P-after-B",
    ),
    pytest.param("a.webm", "libvpx", {"g": "6"}, 9, 0, 9, (9, 11), id="vp8"),
    pytest.param("b.avi", "mjpeg", {}, 8, 0, 8, (8, 8), id="intra"),
]


@pytest.mark.parametrize(
    ("name", "codec", "options", "packet", "filling", "culprit", "reach"), DAMAGED
)
def test_damage_stops_before_what_it_may_spoil(
    tmp_path: Path, name, codec, options, packet, filling, culprit, reach, film, encode
):
    path = encode(tmp_path / name, noisy(film(18)), codec, **options)
    whole = list(VideoFrames(path))
    spoil(path, packet, filling)
    source = VideoFrames(path)
    assert len(source) == 18
    for start in (0, 3):
        got: list[np.ndarray] = []
        with pytest.raises(InputError, match="--allow-damaged") as error:
            for frame in source.frames(start):
                got.append(frame)
        assert f"frame {culprit:05d} does not decode" in str(error.value)
        assert len(got) == reach[0] - start
        assert all(map(np.array_equal, got, whole[start:]))
    backwards: list[np.ndarray] = []
    with pytest.raises(InputError, match=f"frame {culprit:05d} does not"):
        for frame in source.reversed():
            backwards.append(frame)
    assert len(backwards) == 17 - reach[1]
    assert all(map(np.array_equal, backwards, whole[::-1]))
    after = list(source.frames(reach[1] + 1))
    assert all(map(np.array_equal, after, whole[reach[1] + 1 :]))
    with pytest.raises(InputError, match=f"frame {culprit:05d} does not"):
        next(source.frames(reach[1]))


@pytest.mark.parametrize(
    ("name", "codec", "options", "packet", "filling", "culprit", "reach"), DAMAGED
)
def test_damage_that_is_allowed_keeps_number_and_names_of_frames(
    tmp_path: Path, name, codec, options, packet, filling, culprit, reach, film, encode
):
    path = encode(tmp_path / name, noisy(film(18)), codec, **options)
    whole = list(VideoFrames(path))
    spoil(path, packet, filling)
    source = VideoFrames(path, allow_damaged=True)
    with pytest.warns(InputWarning, match=f"frame {culprit:05d} does not") as warned:
        got = list(source)
    first, last = reach
    if first < last:
        assert f"spoil frames {first:05d} to {last:05d};" in str(warned[0].message)
    assert source.names[-1] == "00017" and len(got) == 18
    intact = [*range(first), *range(last + 1, 18)]
    assert all(np.array_equal(got[i], whole[i]) for i in intact)
    with pytest.warns(InputWarning):
        backwards = list(source.reversed())[::-1]
    assert len(backwards) == 18
    assert all(np.array_equal(backwards[i], whole[i]) for i in intact)


def test_a_frame_that_does_not_decode_repeats_the_one_before(
    tmp_path: Path, film, encode
):
    path = encode(tmp_path / "a.avi", noisy(film(8)), "mjpeg")
    whole = list(VideoFrames(path))
    for packet in (0, 4, 5):
        spoil(path, packet, part=1000000)
    with pytest.warns(InputWarning):
        source = VideoFrames(path, allow_damaged=True)
        got = list(source)
        assert np.array_equal(next(source.frames(5)), whole[3])
        assert all(map(np.array_equal, source.reversed(), got[::-1]))
    expected = [whole[i] for i in (1, 1, 2, 3, 3, 3, 6, 7)]
    assert all(map(np.array_equal, got, expected))


def test_a_cut_file_that_is_allowed_ends_with_a_warning(tmp_path: Path, film, encode):
    path = encode(tmp_path / "a.mkv", noisy(film(20)), g="5")
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    source = VideoFrames(path, allow_damaged=True)
    with pytest.warns(InputWarning, match=f"cut off.*before frame {len(source):05d}"):
        assert len(list(source)) == len(source) > 5


HEALTHY = [
    pytest.param(
        "libx264", {"x264-params": "open-gop=1:keyint=6:bframes=3"}, id="h264"
    ),
    pytest.param(
        "libx265", {"x265-params": "open-gop=1:keyint=6:log-level=none"}, id="hevc"
    ),
    pytest.param("libx264", {"x264-params": "intra-refresh=1:keyint=6"}, id="refresh"),
    pytest.param("mpeg2video", {"g": "6", "bf": "2"}, id="mpeg2"),
]


@pytest.mark.parametrize(("codec", "options"), HEALTHY)
def test_pictures_that_need_a_seek_are_not_taken_for_damage(
    tmp_path: Path, codec: str, options: dict[str, str], film, encode
):
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    source = VideoFrames(encode(tmp_path / "a.mkv", film(18), codec, **options))
    whole = list(source)
    assert len(whole) == 18
    assert all(map(np.array_equal, source.reversed(), whole[::-1]))
    for start in range(1, 18, 3):
        assert np.array_equal(next(source.frames(start)), whole[start])


MATRICES = [
    # As the header of a track holds them, and what players make of the frame.
    pytest.param((-1, 0, 0, 1), lambda f: f[:, ::-1], id="left-right"),
    pytest.param((1, 0, 0, -1), lambda f: f[::-1], id="top-bottom"),
    pytest.param((0, 1, 1, 0), lambda f: f.swapaxes(0, 1), id="transposed"),
    pytest.param((0, -1, -1, 0), lambda f: f[::-1, ::-1].swapaxes(0, 1), id="other"),
    pytest.param((0, 1, -1, 0), lambda f: np.rot90(f, -1), id="phone"),
]


def turn(path: Path, a: float, b: float, c: float, d: float) -> None:
    """Writes the display matrix of an MP4 file without a hand from FFmpeg."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    entries = [int(x * 65536) for x in (a, b, 0, c, d, 0, 0, 0, 16384)]
    data[at : at + 36] = struct.pack(">9i", *entries)
    path.write_bytes(data)


@pytest.mark.parametrize(("matrix", "shown"), MATRICES)
def test_a_mirrored_video_is_read_as_players_show_it(
    tmp_path: Path, matrix, shown, film, encode
):
    path = encode(tmp_path / "a.mp4", film(3))
    stored = list(VideoFrames(path))
    turn(path, *matrix)
    source = VideoFrames(path)
    assert source.size == shown(stored[0]).shape[:2]
    assert all(np.array_equal(a, shown(b)) for a, b in zip(source, stored, strict=True))


def test_a_slanted_video_is_told_of(tmp_path: Path, film, encode):
    path = encode(tmp_path / "a.mp4", film(2))
    turn(path, 0.94, 0.34, -0.34, 0.94)
    with pytest.warns(InputWarning, match="no right one"):
        assert VideoFrames(path).size == (48, 64)


@pytest.mark.parametrize(
    ("pix_fmt", "values", "seen"),
    [
        pytest.param("gray16le", (51200, 52200), "stretched", id="thermal"),
        pytest.param("gray16le", (1000, 65000), "high byte", id="full"),
        pytest.param("gray12le", (400, 700), "stretched", id="12-bit"),
        pytest.param("rgb48le", (30, 4095), "stretched", id="colour"),
    ],
)
def test_deep_videos_are_shown_by_one_table(
    tmp_path: Path, pix_fmt: str, values: tuple[int, int], seen: str
):
    low, high = values
    grey = np.linspace(low, high, 4 * 16 * 24).reshape(4, 16, 24).astype(np.uint16)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 24, pix_fmt
        for frame in grey:
            if pix_fmt == "rgb48le":
                frame = np.repeat(frame[..., None], 3, axis=2)
            picture = av.VideoFrame(24, 16, pix_fmt)
            # Rows of a plane may be longer than what they show.
            (plane,) = picture.planes
            rows = np.zeros((16, plane.line_size // 2), np.uint16)
            rows[:, : frame[0].size] = frame.reshape(16, -1)
            plane.update(rows)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    source = VideoFrames(tmp_path / "a.mkv")
    if seen == "stretched":
        with pytest.warns(InputWarning, match="uses a small part of its 1[26]-bit"):
            got = np.stack(list(source))
        expected = np.rint((grey - low) * (255 / (high - low)))
    else:
        got, expected = np.stack(list(source)), grey >> 8
    assert np.abs(got - expected[..., None].astype(int)).max() <= 1
    assert np.array_equal(next(source.frames(2)), got[2])
    assert all(map(np.array_equal, source.reversed(), got[::-1]))
