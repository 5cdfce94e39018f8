"""Small data sets in the official folder layouts, written by the tests themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_jax.media import write_labels

REFERENCE = np.load(Path(__file__).with_name("metrics_reference.npz"))
CLIPS = ("alpha", "beta", "gamma", "delta")


def write_sequence(folder, labels, stems=None):
    folder.mkdir(parents=True)
    for place, frame in enumerate(labels):
        stem = f"{place:05d}" if stems is None else stems[place]
        write_labels(folder / f"{stem}.png", frame)


def write_frames(folder, labels, stems=None):
    folder.mkdir(parents=True)
    height, width = labels[0].shape
    for place in range(len(labels)):
        stem = f"{place:05d}" if stems is None else stems[place]
        Image.new("RGB", (width, height)).save(folder / f"{stem}.jpg")


@pytest.fixture
def davis(tmp_path):
    """The reference clips as a DAVIS 2017 split; results in `results`."""
    root = tmp_path / "davis"
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("\n".join(CLIPS) + "\n")
    for clip in CLIPS:
        annotated, predicted = (
            REFERENCE[f"syn_{clip}_gt"],
            REFERENCE[f"syn_{clip}_pred"],
        )
        write_frames(root / "JPEGImages" / "480p" / clip, annotated)
        write_sequence(root / "Annotations" / "480p" / clip, annotated)
        write_sequence(tmp_path / "results" / clip, predicted)
    return root


@pytest.fixture
def youtube_vos(tmp_path):
    """One video: object 3 is seen and starts at once, 7 is unseen and starts later.

    Object 7 is listed from the third frame on and drawn from the fourth. The results
    are right but for the last frame, which is empty.
    """
    root = tmp_path / "youtube"
    stems = [f"{5 * place:05d}" for place in range(1, 7)]
    labels = np.zeros((6, 40, 50), np.uint8)
    labels[:, 5:15, 5:20] = 3
    labels[3:, 20:30, 25:40] = 7
    objects = {
        "3": {"category": "dog", "frames": stems},
        "7": {"category": "okapi", "frames": stems[2:]},
    }
    for split in ("valid", "train"):
        write_frames(root / split / "JPEGImages" / "0123abcdef", labels, stems)
        write_sequence(root / split / "Annotations" / "0123abcdef", labels, stems)
    write_meta(root / "valid", {"0123abcdef": {"objects": objects}})
    write_meta(root / "train", {"0123abcdef": {"objects": {"3": objects["3"]}}})
    predicted = labels.copy()
    predicted[-1] = 0
    write_sequence(tmp_path / "results" / "0123abcdef", predicted, stems)
    return root


def write_meta(folder, videos):
    (folder / "meta.json").write_text(json.dumps({"videos": videos}))
