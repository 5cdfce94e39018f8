from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from vos_jax.errors import InputError
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
    monkeypatch.setattr(video, "_REVERSE_BLOCK", 16)
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
