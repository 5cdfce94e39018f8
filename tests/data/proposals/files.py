"""Small files of proposals, whole and broken."""

import json

import numpy as np

from vos_jax.data.proposals.run_lengths import text_of

SIZE = (6, 8)


def mask_at(number):
    """A block that tells which entry it is of."""
    mask = np.zeros(SIZE, bool)
    mask[number % 5 : number % 5 + 2, number % 7 : number % 7 + 1] = True
    return mask


def entry(image, number, **changes):
    segmentation = {"size": list(SIZE), "counts": text_of(mask_at(number))}
    whole = {
        "image_id": image,
        "category_id": 18,
        "bbox": [0, 0, 1, 1],
        "score": 1 - number / 100,
        "segmentation": segmentation,
    }
    return {key: x for key, x in {**whole, **changes}.items() if x is not ...}


def image(number, name, **changes):
    whole = {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
    return {key: x for key, x in {**whole, **changes}.items() if x is not ...}


def images(sequence="dog", count=3, first=10):
    """Of a sequence, with ids that are no places in the list."""
    return [image(first + t, f"{sequence}/{t:05d}.jpg") for t in range(count)]


def entries(count=3, first=10, each=2):
    return [entry(first + t, each * t + n) for t in range(count) for n in range(each)]


def write_object(path, listed=None, found=None):
    listed = images() if listed is None else listed
    found = entries() if found is None else found
    path.write_text(json.dumps({"info": {}, "images": listed, "annotations": found}))
    return path


def write_list(path, listed=None, found=None, *, wrapped=True):
    listed = images() if listed is None else listed
    path.write_text(json.dumps(entries() if found is None else found, indent=1))
    beside = path.with_name(f"{path.stem}.images.json")
    beside.write_text(json.dumps({"images": listed} if wrapped else listed))
    return path
