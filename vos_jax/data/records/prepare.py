"""Does what `tfds build` does, without the program of that name.

That program needs Apache Beam, which nothing here does. The outcome is the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_jax.errors import InputError
from vos_jax.media.listing import is_leftover


def prepare(
    config: str | Mapping[str, Any], root: str | Path | None, out: str | Path
) -> Path:
    """Writes a data set as records, whole or not at all.

    Args:
      config: Name of a data set, or the fields of a `VosConfig`, as a mapping or in
        JSON: such as `{"name": "big-davis", "source": "davis2017", "splits": {"train":
        {"resolution": "Full-Resolution"}}}`.
      root: The data set's folder; None for generated clips.
      out: The `--data_dir` of TFDS, where `vos_records/<name>/<version>` is made.

    Returns:
      That folder.

    Raises:
      InputError: TFDS is not installed, the configuration is wrong, the records are
        there already, the data set cannot be opened or one of its files is damaged.
    """
    try:
        import tensorflow_datasets as tfds

        from vos_jax.data.records.vos_records import VosConfig, VosRecords
    except ImportError as error:
        raise InputError(
            f"preparing records needs {error.name}; run: pip install 'vos_jax[data]'"
        ) from error
    fields = _fields(config)
    names = [each.name for each in VosRecords.BUILDER_CONFIGS]
    chosen: Any = fields["name"]
    if len(fields) > 1:
        if chosen in names:
            raise InputError(
                f"configuration {chosen!r} exists with its own settings; give yours "
                "another name, and the data set as its source"
            )
        try:
            chosen = VosConfig(**fields)
        except TypeError as error:
            raise InputError(f"configuration {fields}: {error}; correct it") from error
    elif chosen not in names:
        raise InputError(f"unknown data set {chosen!r}; use one of {names}")
    if root is not None and not _holds_files(Path(root)):
        raise InputError(
            f"data set folder {root} does not exist or is empty; check the path"
        )
    builder = VosRecords(config=chosen, data_dir=out, file_format="array_record")
    if builder.is_prepared():
        raise InputError(
            f"{builder.data_dir} is there already; remove it to prepare it anew"
        )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=root)
    )
    return Path(builder.data_dir)


def _holds_files(root: Path) -> bool:
    there = root.iterdir() if root.is_dir() else ()
    return not all(is_leftover(path.name) for path in there)


def _fields(config: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, str) and not config.lstrip().startswith("{"):
        return {"name": config}
    try:
        fields = dict(json.loads(config) if isinstance(config, str) else config)
    except ValueError as error:
        raise InputError(f"configuration {config} is no JSON ({error})") from error
    if not isinstance(fields.get("name"), str) or not fields["name"]:
        raise InputError(f"configuration {fields} has no name; give it one")
    return fields
