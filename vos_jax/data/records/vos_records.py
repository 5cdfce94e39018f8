"""A TFDS builder for every data set that `open_source` reads.

    python -m vos_jax.data.records davis2017 data/DAVIS records
    tfds build vos_records/davis2017 --imports vos_jax.data.records.vos_records \
        --manual_dir data/DAVIS --data_dir records --file_format array_record

One record is one labelled frame with its labels, not one video: a clip of three frames
out of a video of 27 (YouTube-VOS) to 160 (BL30K) then reads 3 records and not 9 to 50
times as much. Records of a video follow one another, videos come in the order of their
source, so that the list of videos and their lengths (`index`) tells where each frame
is.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from vos_jax.data.records.encoding import encode_all
from vos_jax.data.records.index import to_index
from vos_jax.data.source import Source
from vos_jax.data.sources import GENERATED, SOURCES, open_source

_ONE_SPLIT: Mapping[str, Mapping[str, Any]] = {"train": {}}
_SPLITS = {
    "davis2016": ("train", "val"),
    "davis2017": ("train", "val"),
    "duts": ("train", "test"),
    "hrsod": ("train", "test"),
    "pascal-voc": ("trainval",),
    "sbd": ("trainval",),
    "coco": ("train2017",),
}
# TFDS sorts records by keys of 128 bits, in buckets by the first of them.
_KEYS = 1 << 128


@dataclasses.dataclass(eq=False, kw_only=True)
class VosConfig(tfds.core.BuilderConfig):
    """A data set, and how it is opened.

    Attributes:
      source: Its name for `open_source`; by default that of the configuration.
      splits: For each split, the options of `open_source`.
      check: Decode every file before it is stored.
    """

    source: str = ""
    splits: Mapping[str, Mapping[str, Any]] = dataclasses.field(
        default_factory=lambda: _ONE_SPLIT
    )
    check: bool = True


def _config(name: str) -> VosConfig:
    if name not in _SPLITS:
        return VosConfig(name=name)
    return VosConfig(
        name=name, splits={each: {"split": each} for each in _SPLITS[name]}
    )


class VosRecords(tfds.core.GeneratorBasedBuilder):
    """Labelled frames of videos and still images, in the order of time."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "One record for each labelled frame."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Name the folder of the data set in its official layout with --manual_dir; "
        "see docs/training-data.md of vos_jax."
    )
    # TFDS would look for it by a package that it does not require.
    code_path = Path(__file__)
    BUILDER_CONFIGS = [_config(name) for name in SOURCES if name != "tfds"]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Frames and object masks for video object segmentation.",
            features=tfds.features.FeaturesDict(
                {
                    "video": tfds.features.Text(),
                    "time": tfds.features.Scalar(np.int64),
                    "frame": tfds.features.Image(shape=(None, None, 3)),
                    # TensorFlow decodes a palette file to luminance; Pillow gives ids.
                    "labels": tfds.features.Image(shape=(None, None, 1)),
                }
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        config = self.builder_config
        name = config.source or config.name
        root = None if name == GENERATED else Path(dl_manager.manual_dir)
        sources = {
            split: open_source(name, root, **options)
            for split, options in config.splits.items()
        }
        for split, source in sources.items():
            self.info.metadata[split] = to_index(source.videos)
        return {split: self._generate_examples(s) for split, s in sources.items()}

    def _generate_examples(
        self, source: Source
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        # Spread over all buckets: TFDS sorts each in memory, and would put keys
        # 0, 1, 2, ... all into the first.
        gap = _KEYS // sum(video.length for video in source.videos)
        examples = encode_all(source, check=self.builder_config.check)
        for number, example in enumerate(examples):
            yield number * gap, example._asdict()
