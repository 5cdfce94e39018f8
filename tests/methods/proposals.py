"""Object proposals for unit tests, from the truth: never for figures."""

import numpy as np
from scipy import ndimage

from vos_jax.data.proposals import select
from vos_jax.types import Proposals


def proposals_of(labels: np.ndarray, seed: int = 0, ellipses: int = 6) -> Proposals:
    """Masks of the labels 1 and 2, dilated, eroded and halved, and random ellipses.

    The objects' own masks are not among them.
    """
    rng, (height, width) = np.random.default_rng(seed), labels.shape
    y, x = np.mgrid[:height, :width]
    masks = []
    for label in (1, 2):
        mask = labels == label
        masks += [
            ndimage.binary_dilation(mask, iterations=2),
            ndimage.binary_erosion(mask),
        ]
        masks.append(mask & (y < np.median(y[mask])))
    for _ in range(ellipses):
        centre = rng.uniform((0, 0), (height, width))
        radius = rng.uniform(0.1, 0.4, 2) * (height, width)
        far = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2
        masks.append(far < 1)
    scores = rng.random(len(masks)).astype(np.float32)
    return select(np.stack(masks), scores, labels.shape, iou=1)
