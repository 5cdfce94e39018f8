"""Data sets that `tfds build` has prepared, as sources: shards, no folders of files.

Two layouts are read: that of `vos_jax.data.records`, with its list of videos beside the
records, and that of TFDS's own `davis`. Only the frames that are asked for are decoded,
and by Pillow: TensorFlow would turn the ids of a palette PNG into luminance.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from vos_jax.data.records.index import from_index
from vos_jax.data.source import Labelled, Source, Video
from vos_jax.data.sources.files import check_root, read_pairs
from vos_jax.data.sources.labels import read_ids
from vos_jax.errors import InputError

_BUILDER = "vos_jax.data.records"
_OURS = "vos_records"
_NAME = re.compile(r"(?P<path>\w[\w.-]*(/\w[\w.-]*)?)(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, kw_only=True)
class _Records:
    """The records of a split, opened when the first one is read, once a process.

    Attributes:
      folder: That of the prepared data set.
      split: Such as "train".
      images: Names of the features that are left as they are stored; a dot leads to
        those inside of another.
    """

    folder: Path
    split: str
    images: tuple[str, ...]

    @cached_property
    def _opened(self) -> tuple[Sequence[bytes], Callable[[bytes], dict[str, Any]]]:
        """The records, and what parses one."""
        tfds = _tfds()
        decoders: dict[str, Any] = {}
        for image in self.images:
            *outer, name = image.split(".")
            inner = decoders.setdefault(outer[0], {}) if outer else decoders
            inner[name] = tfds.decode.SkipDecoding()
            # Which it does not know of the images of a sequence.
            inner[name].decode_batch_example_np = lambda images: images
        builder = tfds.builder_from_directory(self.folder)
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        parse = builder.info.features.deserialize_example_np
        return (
            builder.as_data_source(self.split, deserialize_method=raw),
            partial(parse, decoders=decoders),
        )

    def __getstate__(self) -> dict[str, Any]:
        # Open files stay behind.
        return {key: self.__dict__[key] for key in ("folder", "split", "images")}

    def __len__(self) -> int:
        return len(self._opened[0])

    def read(self, place: int) -> dict[str, Any]:
        """Reads a record by its place; called by several threads.

        Raises:
          InputError: It cannot be read.
        """
        try:
            records, parse = self._opened
            content = records[place]
            if not content:
                # What a shard gives that has lost its end.
                raise ValueError(f"record {place} is empty")
            return parse(content)
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"records of split {self.split!r} in {self.folder} cannot be read "
                f"({reason}); copy the folder again or prepare it anew"
            ) from error


@dataclass(frozen=True, kw_only=True)
class FrameRecords:
    """A source whose records are labelled frames, as `vos_jax.data.records` has them.

    Attributes:
      videos: As listed beside the records.
      firsts: The record of each one's first frame.
      records: All of them, video after video.
    """

    videos: tuple[Video, ...]
    firsts: tuple[int, ...]
    records: _Records

    def read(self, video: int, times: Sequence[int]) -> Labelled:
        """Reads the labelled frames `times` of the video of that index.

        Raises:
          InputError: A record is missing or damaged, or frames differ in size.
        """
        first = self.firsts[video]
        examples = [self.records.read(first + time) for time in times]
        pairs = [(example["frame"], example["labels"]) for example in examples]
        return _decode(pairs, times, self.videos[video], self.records)


@dataclass(frozen=True, kw_only=True)
class VideoRecords:
    """A source whose records are whole videos, as TFDS's `davis` has them.

    A clip costs the reading of a whole record, though not its decoding.

    Attributes:
      videos: By name, which is the order of the lists of DAVIS.
      places: The record of each.
      records: All of them.
    """

    videos: tuple[Video, ...]
    places: tuple[int, ...]
    records: _Records

    def read(self, video: int, times: Sequence[int]) -> Labelled:
        """Reads the labelled frames `times` of the video of that index.

        Raises:
          InputError: The record is missing or damaged, or frames differ in size.
        """
        example = self.records.read(self.places[video])
        frames, labels = (example["video"][n] for n in ("frames", "segmentations"))
        pairs = [(frames[time], labels[time]) for time in times]
        return _decode(pairs, times, self.videos[video], self.records)


def open_tfds(
    root: str | Path, *, name: str | None = None, split: str | None = None
) -> Source:
    """Opens a data set that TFDS has prepared as `array_record`.

    Args:
      root: Its `--data_dir`.
      name: Such as "vos_records/davis2017" or "davis/480p"; a version may follow, as in
        "davis/480p:2.1.0", else the newest is taken.
      split: Such as "train", which is the default unless there is only one.

    Raises:
      InputError: TFDS is not installed, the data set or split is not there, is not in
        random access files, or holds no video with labels.
    """
    root = check_root(root)
    folder = _find(root, name)
    builder = _open(root, folder)
    splits = list(builder.info.splits)
    if split is None:
        split = splits[0] if len(splits) == 1 else "train"
    if split not in splits:
        raise InputError(
            f"{folder} has no split {split!r}; name one of {sorted(splits)}"
        )
    features = set(builder.info.features)
    if {"frame", "labels"} <= features:
        index = dict(builder.info.metadata or {}).get(split)
        records = _Records(folder=folder, split=split, images=("frame", "labels"))
        return _frame_records(records, index)
    if {"video", "metadata"} <= features and "frames" in builder.info.features["video"]:
        images = ("video.frames", "video.segmentations")
        return _video_records(_Records(folder=folder, split=split, images=images))
    raise InputError(
        f"{folder} has the features {sorted(features)}, not videos with labels; use "
        f"data sets of {_OURS!r} or 'davis'"
    )


def _frame_records(records: _Records, index: Any) -> FrameRecords:
    try:
        videos = from_index(index)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{records.folder / 'metadata.json'} does not list the videos of split "
            f"{records.split!r}; copy the folder again or prepare it anew"
        ) from error
    firsts, count = [], 0
    for video in videos:
        firsts.append(count)
        count += video.length
    if count != len(records):
        raise InputError(
            f"{records.folder} has {len(records)} records of split {records.split!r} "
            f"where its list of videos has {count}; prepare all of it"
        )
    return FrameRecords(videos=videos, firsts=tuple(firsts), records=records)


def _video_records(records: _Records) -> VideoRecords:
    # No list lies beside these, so all are read once: 0.4 GB for DAVIS at 480p.
    found = []
    for place in range(len(records)):
        about = records.read(place)["metadata"]
        found.append((about["video_name"].decode(), int(about["num_frames"]), place))
    found.sort()
    return VideoRecords(
        videos=tuple(Video(name, length) for name, length, _ in found),
        places=tuple(place for _, _, place in found),
        records=records,
    )


class _Stored(BytesIO):
    """An image file in memory, and what messages call it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


def _decode(
    pairs: Sequence[tuple[bytes, bytes]],
    times: Sequence[int],
    video: Video,
    records: _Records,
) -> Labelled:
    files = []
    for (frame, labels), time in zip(pairs, times, strict=True):
        place = f"{time} of video {video.name} in {records.folder}"
        stored = _Stored(frame, f"frame {place}"), _Stored(labels, f"labels {place}")
        # All that decodes images takes files that are open as well as paths.
        files.append(cast(tuple[Path, Path], stored))
    return read_pairs(files, read_ids)


def _open(root: Path, folder: Path) -> Any:
    """Opens a prepared data set that allows random access."""
    tfds = _tfds()
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:
        # Its parsers raise errors of many kinds.
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder} cannot be opened ({reason}); copy the folder again or prepare "
            "it anew"
        ) from error
    formats = {each.value for each in builder.info.available_file_formats()}
    if "array_record" not in formats:
        command = _command(root, folder.parent.relative_to(root))
        raise InputError(
            f"{folder} is stored as {', '.join(sorted(formats))}, which allows no "
            f"random access; remove it and run: {command}"
        )
    return builder


def _find(root: Path, name: str | None) -> Path:
    """Returns the folder of the newest version of a prepared data set."""
    prepared = _prepared(root)
    there = f"prepared there: {sorted(map(str, prepared)) or 'nothing'}"
    match = _NAME.fullmatch(name or "")
    if match is None:
        raise InputError(
            f"name={name!r}: give the name of a data set below {root}; {there}"
        )
    path = Path(match["path"])
    versions = prepared.get(path, [])
    wanted = [match["version"]] if match["version"] else versions
    newest = max(set(wanted) & set(versions), key=_numbers, default=None)
    if newest is None:
        raise InputError(
            f"data set {name!r} is not prepared in {root}, {there}; "
            f"run: {_command(root, path)}"
        )
    return root / path / newest


def _prepared(root: Path) -> dict[Path, list[str]]:
    """Lists the versions of what is prepared below a folder, by name."""
    prepared: dict[Path, list[str]] = {}
    for depth in ("*/*", "*/*/*"):
        for info in root.glob(f"{depth}/dataset_info.json"):
            # While TFDS writes, the folder has another name.
            if _VERSION.fullmatch(info.parent.name):
                name = info.parent.parent.relative_to(root)
                prepared.setdefault(name, []).append(info.parent.name)
    return prepared


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _command(root: Path, name: Path) -> str:
    """Returns the command that prepares a data set."""
    if name.parts[0] == _OURS:
        config = name.name if len(name.parts) > 1 else "NAME"
        return f"python -m {_BUILDER} {config} FOLDER {root}"
    return f"tfds build {name} --data_dir {root} --file_format array_record"


def _tfds() -> Any:
    try:
        import_module("array_record")
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"reading records needs {error.name}; run: pip install 'vos_jax[data]'"
        ) from error
    return tfds
