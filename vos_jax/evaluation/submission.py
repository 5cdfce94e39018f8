"""Archives for the servers that score where annotations are not public."""

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

from vos_jax.errors import InputError
from vos_jax.evaluation.datasets import Sequence
from vos_jax.media.atomic import atomic_path
from vos_jax.media.masks import read_size

# Each server rejects the other's layout.
_TOP_FOLDERS = {"davis2017": "", "youtube-vos": "Annotations/"}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3
# The oldest time a zip file can hold: equal masks make equal archives.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_submission(
    results: str | Path, sequences: Iterable[Sequence], path: str | Path, dataset: str
) -> Path:
    """Packs the masks of all required frames for a scoring server.

    YouTube-VOS: `Annotations/<video>/<frame>.png` for the frames that `meta.json`
    lists. DAVIS 2017: `<sequence>/<frame>.png` at the top level, for every frame.

    Args:
      results: The folder of `<sequence>/<frame>.png` palette masks.
      sequences: What `read_dataset` gave.
      path: The zip file to write.
      dataset: "davis2017" or "youtube-vos".

    Raises:
      InputError: A mask is missing, has another size than the annotation or is no
        palette PNG; the archive cannot be written.
    """
    if dataset not in _TOP_FOLDERS:
        raise InputError(
            f"{dataset!r} has no server; archives are for {sorted(_TOP_FOLDERS)}"
        )
    members: dict[str, Path] = {}
    for sequence in sequences:
        size = read_size(next(iter(sequence.annotations.values())))
        for stem in sequence.outputs:
            mask = Path(results) / sequence.name / f"{stem}.png"
            _check_mask(mask, size)
            members[f"{_TOP_FOLDERS[dataset]}{sequence.name}/{stem}.png"] = mask
    path = Path(path)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, mask in members.items():
            # Stored: PNG data does not get smaller.
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), mask.read_bytes())
    return path


def _check_mask(path: Path, size: tuple[int, int]) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError as error:
        raise InputError(
            f"result mask {path} cannot be read ({error.strerror}); the server wants "
            "every frame"
        ) from error
    if not head.startswith(_SIGNATURE) or len(head) < 26 or head[25] != _PALETTE:
        raise InputError(f"{path} is no palette PNG; write the ids as palette indices")
    width, height = struct.unpack(">II", head[16:24])
    if (height, width) != size:
        raise InputError(
            f"{path} is {width}x{height} but the annotation is {size[1]}x{size[0]} "
            "(width x height); write masks of the original size"
        )
