"""Video data sets in their official layouts: DAVIS, YouTube-VOS, BL30K."""

from collections.abc import Mapping
from pathlib import Path

from vos_jax.data.source import Video
from vos_jax.data.sources.files import FileSource, VideoFiles, check_root, list_videos
from vos_jax.data.sources.labels import read_ids, read_one_object
from vos_jax.errors import InputError
from vos_jax.media.dataset_lists import (
    ListedObject,
    davis_resolution,
    davis_videos,
    read_meta,
)
from vos_jax.media.listing import list_folders

# Annotated at 6 frames/s, filmed at 30.
_YOUTUBE_STRIDE = 5


def open_davis2016(
    root: str | Path, *, split: str = "train", resolution: str | None = None
) -> FileSource:
    """Opens DAVIS 2016 (Perazzi et al., CVPR 2016): one object in every video.

    Reads the release of 2016 (lists of file pairs in `ImageSets/<resolution>`) and that
    of 2017, which has the same videos in `ImageSets/2016`. Where both are there, the
    latter is taken, with a warning if they differ.

    Args:
      root: The folder that holds `ImageSets`, `JPEGImages` and `Annotations`.
      split: Name of the list, "train", "val" or one of your own.
      resolution: The folder below `JPEGImages` and `Annotations`; by default 480p, or
        the only one there is.

    Raises:
      InputError: A list, folder, frame or mask is missing.
    """
    names, files = _davis(root, "2016", split, resolution)
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
    names, files = _davis(root, "2017", split, resolution)
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
    videos = read_meta(meta)
    files = list_videos(
        videos, folder / "JPEGImages", folder / "Annotations", every_frame=False
    )
    listed = tuple(
        Video(
            name, len(each.masks), _starts(meta, name, objects, each), _YOUTUBE_STRIDE
        )
        for (name, objects), each in zip(videos.items(), files, strict=True)
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
        folders = [root / name for name in _folders(root)]
        segments = [path for path in folders if (path / "JPEGImages").is_dir()]
    if not segments:
        raise InputError(
            f"{root} holds neither JPEGImages nor segments that do; check the path"
        )
    listed: list[str] = []
    files: tuple[VideoFiles, ...] = ()
    for segment in segments:
        images, masks = segment / "JPEGImages", segment / "Annotations"
        names = _folders(images)
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


def _davis(
    root: str | Path, year: str, split: str, resolution: str | None
) -> tuple[list[str], tuple[VideoFiles, ...]]:
    """Lists the videos of a split of DAVIS and their files."""
    root = check_root(root)
    resolution = davis_resolution(root, resolution)
    names = davis_videos(root, year, split, resolution)
    images, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    return names, list_videos(names, images, masks, every_frame=True)


def _folders(folder: Path) -> list[str]:
    names = list_folders(folder)
    if not names:
        raise InputError(f"{folder} holds no folders; extract the data set again")
    return names


def _starts(
    meta: Path, name: str, objects: Mapping[int, ListedObject], files: VideoFiles
) -> dict[int, int]:
    """Finds the labelled frame that first lists each object."""
    index_of = {Path(mask).stem: index for index, mask in enumerate(files.masks)}
    starts = {}
    for label, listed in objects.items():
        stem = listed.stems[0]
        if stem not in index_of:
            raise InputError(
                f"mask {files.mask_folder / stem}.png is missing: {meta} lists it for "
                f"object {label} of video {name}; extract the data set again"
            )
        starts[label] = index_of[stem]
    return starts
