"""Video data sets in their official layouts: DAVIS, YouTube-VOS, BL30K."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_jax.data.source import Video
from vos_jax.data.sources.files import (
    FileSource,
    VideoFiles,
    check_names,
    check_root,
    list_folders,
    list_videos,
    read_json,
    read_names,
    read_words,
)
from vos_jax.data.sources.labels import read_ids, read_one_object
from vos_jax.errors import InputError

_MAX_ID = 254
# Annotated at 6 frames/s, filmed at 30.
_YOUTUBE_STRIDE = 5


def open_davis2016(
    root: str | Path, *, split: str = "train", resolution: str | None = None
) -> FileSource:
    """Opens DAVIS 2016 (Perazzi et al., CVPR 2016): one object in every video.

    Reads the release of 2016 (lists of file pairs in `ImageSets/<resolution>`) and that
    of 2017, which has the same videos in `ImageSets/2016`.

    Args:
      root: The folder that holds `ImageSets`, `JPEGImages` and `Annotations`.
      split: Name of the list, "train", "val" or one of your own.
      resolution: The folder below `JPEGImages` and `Annotations`; by default 480p, or
        the only one there is.

    Raises:
      InputError: A list, folder, frame or mask is missing.
    """
    root = check_root(root)
    resolution = _resolution(root, resolution)
    pairs = root / "ImageSets" / resolution / f"{split}.txt"
    if pairs.exists():
        names = _names_of_pairs(pairs)
    else:
        names = read_names(root / "ImageSets" / "2016" / f"{split}.txt")
    files = _davis_files(root, resolution, names)
    return FileSource(
        videos=_list(names, files, starts={1: 0}),
        files=files,
        read_mask=read_one_object,
    )


def open_davis2017(
    root: str | Path, *, split: str = "train", resolution: str | None = None
) -> FileSource:
    """Opens DAVIS 2017 (Pont-Tuset et al., arXiv:1704.00675): ids from palette PNGs.

    The arguments and errors are those of `open_davis2016`.
    """
    root = check_root(root)
    names = read_names(root / "ImageSets" / "2017" / f"{split}.txt")
    files = _davis_files(root, _resolution(root, resolution), names)
    return FileSource(videos=_list(names, files), files=files, read_mask=read_ids)


def open_youtube_vos(root: str | Path, *, split: str = "train") -> FileSource:
    """Opens YouTube-VOS 2018 or 2019 (Xu et al., ECCV 2018), annotated frames only.

    Videos are those of `meta.json`; their annotated frames lie five apart in the
    training set. Objects start where `meta.json` first lists them.

    Args:
      root: The folder that holds `<split>/meta.json`.
      split: The folder of `meta.json`, `JPEGImages` and `Annotations`.

    Raises:
      InputError: `meta.json` is missing or malformed, or a file it needs is missing.
    """
    folder = check_root(root) / split
    meta = folder / "meta.json"
    videos = read_json(meta).get("videos")
    if not isinstance(videos, dict) or not videos:
        raise InputError(f"{meta} lists no videos; copy it from the data set again")
    names = check_names(sorted(videos), meta)
    objects = [_read_objects(meta, name, videos[name]) for name in names]
    files = list_videos(
        names, folder / "JPEGImages", folder / "Annotations", every_frame=False
    )
    listed = tuple(
        Video(name, len(each.masks), _starts(meta, name, stems, each), _YOUTUBE_STRIDE)
        for name, stems, each in zip(names, objects, files, strict=True)
    )
    return FileSource(videos=listed, files=files, read_mask=read_ids)


def open_bl30k(root: str | Path) -> FileSource:
    """Opens BL30K (Cheng et al., CVPR 2021), rendered videos of 160 frames.

    Args:
      root: Holds `JPEGImages` and `Annotations`, or folders that do: the six segments
        unpacked apart, which then prefix the names of their videos.

    Raises:
      InputError: A folder is missing or empty, or a frame or mask lacks its partner.
    """
    root = check_root(root)
    segments = [root]
    if not (root / "JPEGImages").is_dir():
        folders = [root / name for name in list_folders(root)]
        segments = [path for path in folders if (path / "JPEGImages").is_dir()]
    if not segments:
        raise InputError(
            f"{root} holds neither JPEGImages nor segments that do; check the path"
        )
    listed: list[str] = []
    files: tuple[VideoFiles, ...] = ()
    for segment in segments:
        images, masks = segment / "JPEGImages", segment / "Annotations"
        names = list_folders(images)
        files += list_videos(names, images, masks, every_frame=True)
        prefix = "" if segment == root else f"{segment.name}/"
        listed += [prefix + name for name in names]
    return FileSource(videos=_list(listed, files), files=files, read_mask=read_ids)


def _list(
    names: list[str],
    files: tuple[VideoFiles, ...],
    starts: Mapping[int, int] | None = None,
) -> tuple[Video, ...]:
    return tuple(
        Video(name, len(each.masks), starts)
        for name, each in zip(names, files, strict=True)
    )


def _davis_files(
    root: Path, resolution: str, names: list[str]
) -> tuple[VideoFiles, ...]:
    images, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    return list_videos(names, images, masks, every_frame=True)


def _resolution(root: Path, resolution: str | None) -> str:
    found = list_folders(root / "Annotations")
    if resolution is None and "480p" in found:
        return "480p"
    if resolution is None and len(found) == 1:
        return found[0]
    if resolution not in found:
        raise InputError(
            f"{root / 'Annotations'} holds {found}; name one of them as the resolution"
        )
    return resolution


def _names_of_pairs(path: Path) -> list[str]:
    """Reads lines such as `/JPEGImages/480p/bear/00000.jpg /Annotations/...`."""
    frames = [words[0].split("/") for words in read_words(path)]
    if bad := [parts for parts in frames if len(parts) < 2]:
        raise InputError(
            f"{path}: {bad[0][0]!r} is no path of a frame; copy the list again"
        )
    return check_names(list(dict.fromkeys(parts[-2] for parts in frames)), path)


def _read_objects(meta: Path, name: str, video: Any) -> dict[int, str]:
    """Reads the stem of the first frame of each object of a video, by id."""
    try:
        starts = {
            int(label): min(entry["frames"])
            for label, entry in video["objects"].items()
        }
        if not starts or not all(1 <= label <= _MAX_ID for label in starts):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{meta}: video {name} needs objects with ids 1 to {_MAX_ID} and frames "
            "each; copy it from the data set again"
        ) from error
    return dict(sorted(starts.items()))


def _starts(
    meta: Path, name: str, stems: dict[int, str], files: VideoFiles
) -> dict[int, int]:
    index_of = {Path(mask).stem: index for index, mask in enumerate(files.masks)}
    for label, stem in stems.items():
        if stem not in index_of:
            raise InputError(
                f"mask {files.mask_folder / str(stem)}.png is missing: {meta} lists it "
                f"for object {label} of video {name}; extract the data set again"
            )
    return {label: index_of[stem] for label, stem in stems.items()}
