"""Proposals of many frames in files of COCO results; see `docs/training-data.md`.

Opening goes through all entries once and keeps where each is, its frame and its score.
A mask is read and decoded when it is asked for.
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from vos_jax.data.proposals.run_lengths import mask_of
from vos_jax.data.proposals.scan import Place, ResultFile
from vos_jax.errors import InputError
from vos_jax.media.listing import list_files

_LEAST_NUMBERS = 6
_FARTHEST = 1e6
_WITHOUT_SCORES = 1.0
_OUTLINES = (-1, -1)

Key = tuple[str, ...]
"""Names of a sequence and a frame, or of a frame alone."""


class Image(NamedTuple):
    """A frame that results are of.

    Attributes:
      file: Its number among the files of results.
      name: Its `file_name`.
      size: (height, width).
    """

    file: int
    name: str
    size: tuple[int, int]


class Candidates(NamedTuple):
    """What a detector has found in a frame, in the order of the file.

    Attributes:
      masks: M times bool `[H, W]`, decoded whenever one is asked for.
      scores: float64 `[M]`.
    """

    masks: Sequence[np.ndarray]
    scores: np.ndarray


class CocoResults:
    """The results of one file, or of a folder of files.

    Attributes:
      path: What was opened.
      identity: Digest of all bytes.
      images: All frames, in the order of their files.
    """

    def __init__(self, path: Path, images: Path | None = None) -> None:
        """Goes through all entries.

        Args:
          path: A file of results in either layout, or a folder of such files.
          images: The file with the list of images of a single file that is a list of
            results; by default `NAME.images.json` beside `NAME.json`.

        Raises:
          InputError: A file is missing or damaged, or an entry is malformed; names it.
        """
        self.path = path
        self.images: list[Image] = []
        self._files = _list_files(path, images)
        self._by_key: dict[Key, int] = {}
        self._by_frame: dict[str, int | None] = {}
        table, digest = _Table(), hashlib.sha256()
        for number, file in enumerate(self._files):
            opened = ResultFile(file, images)
            _index(opened, number, self._add, table)
            digest.update(opened.digest.encode())
        self.identity = digest.hexdigest()[:16]
        self._scores = np.array(table.scores)
        self._places = np.array(table.places, np.int64).reshape(-1, 3)
        frames = np.array(table.frames, np.int64)
        # Stable: of the same frame they stay in the order of the file.
        self._order = np.argsort(frames, kind="stable")
        counts = np.bincount(frames, minlength=len(self.images))
        self._ends = np.cumsum(counts)
        self.empty = int((counts == 0).sum())

    def find(self, sequence: str | None, frame: str) -> int | None:
        """Returns the number of a frame among `images`; None if it is not there.

        Args:
          sequence: Its name in a data set; None for a video by itself or an image.
          frame: Name of the frame, without extension; the last two parts count of all.

        Raises:
          InputError: Without a sequence the name can mean several frames.
        """
        key = _key(f"{sequence or ''}/{frame}")
        if len(key) > 1:
            return self._by_key.get(key)
        found = self._by_frame.get(frame, -1)
        if found is None:
            raise InputError(
                f"{self.path} lists frame {frame} in several sequences; name a file of"
                " this one alone"
            )
        return None if found < 0 else found

    def sequence_of(self, frames: Sequence[str], folder: str) -> str | None:
        """Returns the sequence that frames of one video are of, where it must be told.

        Args:
          frames: Their names, without extension.
          folder: What holds them is called so, and counts if names alone do not tell.

        Returns:
          `folder`; None if names alone tell, or none is known.

        Raises:
          InputError: They do not tell, and no sequence with such frames has that name.
        """
        found = {frame: self._by_frame.get(frame, -1) for frame in frames}
        unclear = [frame for frame, number in found.items() if number is None]
        known = [(x, n) for x, n in found.items() if n is not None and n >= 0]
        owners = {_key(self.images[number].name)[:-1] for _, number in known}
        if not unclear and len(owners) < 2:
            return None
        if any((folder, frame) in self._by_key for frame in frames):
            return folder
        if unclear:
            reason = f"lists frame {unclear[0]} in several sequences"
        else:
            reason = f"has frames {known[0][0]} to {known[-1][0]} of several sequences"
        raise InputError(
            f"{self.path} {reason}, none of which is called {folder!r} as the folder or"
            " video is; rename that, or name a file of this sequence alone"
        )

    def candidates(self, image: int) -> Candidates:
        """Returns what was found in a frame, by its number."""
        begin = self._ends[image - 1] if image else 0
        entries = self._order[begin : self._ends[image]]
        frame = self.images[image]
        places = [Place(*place) for place in self._places[entries].tolist()]
        masks = _Masks(self._files[frame.file], places, frame.size)
        return Candidates(masks, self._scores[entries])

    def _add(self, image: Image) -> int:
        """Lists a frame; returns its number."""
        number, key = len(self.images), _key(_without_extension(image.name))
        if key in self._by_key:
            raise ValueError(f"a second entry of {'/'.join(key)}")
        self._by_key[key] = number
        self._by_frame[key[-1]] = None if key[-1] in self._by_frame else number
        self.images.append(image)
        return number


class _Masks(Sequence[np.ndarray]):
    """The masks of a frame, in their file."""

    def __init__(
        self, path: Path, places: Sequence[Place], size: tuple[int, int]
    ) -> None:
        self._path, self._places, self._size = path, places, size

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        place = self._places[index]
        try:
            with self._path.open("rb") as file:
                file.seek(place.begin)
                entry = json.loads(file.read(place.end - place.begin))
            return _decode(entry["segmentation"], self._size)
        except (OSError, TypeError, LookupError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"{self._path}: the mask of entry {place.number} cannot be decoded"
                f" ({reason}); make the proposals again"
            ) from error


class _Table:
    """Columns of all entries: compact, for there may be millions."""

    def __init__(self) -> None:
        self.frames, self.places, self.scores = array("q"), array("q"), array("d")
        self._scored: bool | None = None

    def add(
        self, path: Path, frames: np.ndarray, places: "array[int]", scores: list[Any]
    ) -> None:
        """Adds the entries of a file.

        Raises:
          InputError: A score is none, or others have one and it has not; names it.
        """
        if scores and self._scored is None:
            self._scored = scores[0] is not None
        if set(map(type, scores)) <= {float, int} and self._scored is not False:
            column = np.array(scores, np.float64)
        else:
            column = np.array([self._score(path, *each) for each in enumerate(scores)])
        for entry in np.flatnonzero(~np.isfinite(column))[:1]:
            raise _malformed(
                path, f"entry {entry}", f"its score {column[entry]} is not finite"
            )
        self.frames.frombytes(frames.astype(np.int64).tobytes())
        self.places.extend(places)
        self.scores.frombytes(column.astype(np.float64).tobytes())

    def _score(self, path: Path, entry: int, score: Any) -> float:
        if self._scored != (score is not None):
            raise _malformed(
                path,
                f"entry {entry}",
                "it has no score, where entries before it have one"
                if score is None
                else "it has a score, where entries before it have none",
            )
        if score is None:
            return _WITHOUT_SCORES
        if type(score) not in (int, float):
            reason = f"its score {score!r} is no number"
            raise _malformed(path, f"entry {entry}", reason)
        return float(score)


def _index(
    opened: ResultFile, number: int, add: Callable[[Image], int], table: _Table
) -> None:
    """Adds the images and entries of a file to what there is.

    Entries may come before the images that they name.
    """
    ids: dict[Any, int] = {}
    belongs, sizes, places = array("q"), array("q"), array("q")
    scores: list[Any] = []
    for place, entry in opened.entries():
        try:
            if not isinstance(entry, dict):
                raise ValueError("it is no object")
            belongs.append(ids.setdefault(entry["image_id"], len(ids)))
            sizes.extend(_size_of(entry["segmentation"]))
            places.extend(place)
            scores.append(entry.get("score"))
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(opened.path, f"entry {place.number}", error) from error
    images = _add_images(opened, number, add)
    known = [images.get(each, (-1, _OUTLINES)) for each in ids]
    which = np.array(belongs, np.int64)
    frames = np.array([frame for frame, _ in known], np.int64)[which]
    for entry in np.flatnonzero(frames < 0)[:1]:
        name = list(ids)[which[entry]]
        reason = f"no image has its image_id {name!r}"
        raise _malformed(opened.path, f"entry {entry}", reason)
    expected = np.array([size for _, size in known], np.int64).reshape(-1, 2)[which]
    found = np.array(sizes, np.int64).reshape(-1, 2)
    wrong = (found != expected).any(axis=1) & (found != _OUTLINES).any(axis=1)
    for entry in np.flatnonzero(wrong)[:1]:
        (height, width), (rows, columns) = found[entry], expected[entry]
        reason = f"its mask is {width}x{height}, its image {columns}x{rows}"
        raise _malformed(opened.path, f"entry {entry}", reason)
    table.add(opened.path, frames, places, scores)


def _add_images(
    opened: ResultFile, number: int, add: Callable[[Image], int]
) -> dict[Any, tuple[int, tuple[int, int]]]:
    """Lists the images of a file; returns number and size of each by its id."""
    if not isinstance(opened.images, list):
        raise InputError(f"{opened.path}: its images are no list; write them as one")
    images: dict[Any, tuple[int, tuple[int, int]]] = {}
    for index, entry in enumerate(opened.images):
        try:
            name, size = entry["file_name"], (entry["height"], entry["width"])
            if not isinstance(name, str) or not name.strip("/"):
                raise ValueError(f"file_name {name!r} is no name")
            if not all(type(side) is int and side > 0 for side in size):
                raise ValueError(f"height and width {size} are no numbers of pixels")
            if entry["id"] in images:
                raise ValueError(f"a second entry of id {entry['id']!r}")
            images[entry["id"]] = add(Image(number, name, size)), size
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(opened.path, f"image {index}", error) from error
    return images


def _size_of(segmentation: Any) -> tuple[int, int]:
    """The size that run lengths say they have; `_OUTLINES` for outlines."""
    if isinstance(segmentation, list):
        return _OUTLINES
    height, width = segmentation["size"]
    if not (type(height) is int and type(width) is int):
        raise ValueError(f"size {[height, width]} is none of a mask")
    if "counts" not in segmentation:
        raise KeyError("counts")
    return height, width


def _malformed(path: Path, entry: str, error: Exception | str) -> InputError:
    reason = f"no {error}" if isinstance(error, KeyError) else error
    return InputError(
        f"{path}: {entry} is malformed ({reason}); make the proposals again"
    )


def _decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Decodes a mask `[H, W]`.

    Raises:
      ValueError: It is damaged.
      InputError: It is an outline, and pycocotools is not installed.
    """
    if isinstance(segmentation, dict):
        return mask_of(segmentation["counts"], size)
    outlines = [np.asarray(outline, np.float64) for outline in segmentation]
    for outline in outlines:
        # Also false for a NaN.
        near = outline.size == 0 or np.abs(outline).max() < _FARTHEST
        if outline.ndim != 1 or outline.size % 2 or not near:
            raise ValueError("its segmentation is no list of outlines")
    outlines = [outline for outline in outlines if outline.size >= _LEAST_NUMBERS]
    if not outlines:
        return np.zeros(size, bool)
    try:
        from pycocotools import mask as tools
    except ImportError as error:
        raise InputError(
            "proposals that are outlines need pycocotools; run:"
            " pip install 'vos_jax[proposals]'"
        ) from error
    drawn = tools.merge(tools.frPyObjects([each.tolist() for each in outlines], *size))
    decoded: np.ndarray = tools.decode(drawn) > 0
    return decoded


def _list_files(path: Path, images: Path | None) -> list[Path]:
    if not path.is_dir():
        return [path]
    if images is not None:
        raise InputError(
            f"{path} is a folder, whose files have their own lists of images; leave"
            f" {images} out"
        )
    files = list_files(path, frozenset({".json"}))
    files = [file for file in files if not file.name.endswith(".images.json")]
    if not files:
        raise InputError(f"{path} holds no proposals; name a folder of .json files")
    return files


def _without_extension(name: str) -> str:
    """Leaves the last part of numbers: `shot.0001` has no extension."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot and "/" not in extension and not extension.isdigit() else name


def _key(name: str) -> Key:
    """The last two parts of a name."""
    *folders, file = [part for part in name.split("/") if part]
    return (*folders[-1:], file)
