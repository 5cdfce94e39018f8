"""The layers once more in float64 NumPy, by their definitions."""

import numpy as np


def conv(x, params, stride=1):
    """Zero padding of half a kernel on every side; `params` as of `Conv`."""
    kernel = np.asarray(params["kernel"], np.float64)
    size = len(kernel)
    half = size // 2
    padded = np.pad(
        np.asarray(x, np.float64), [(0, 0), (half,) * 2, (half,) * 2, (0, 0)]
    )
    rows = range(0, padded.shape[1] - size + 1, stride)
    columns = range(0, padded.shape[2] - size + 1, stride)
    out = np.zeros((len(x), len(rows), len(columns), kernel.shape[-1]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            patch = padded[:, row : row + size, column : column + size]
            out[:, i, j] = np.tensordot(patch, kernel, 3)
    return out + np.asarray(params.get("bias", 0), np.float64)


def norm(x, params, stats):
    """Batch normalisation by stored statistics."""
    centred = x - np.asarray(stats["mean"], np.float64)
    normal = centred / np.sqrt(np.asarray(stats["var"], np.float64) + 1e-5)
    return normal * np.asarray(params["scale"]) + np.asarray(params["bias"])


def relu(x):
    return np.maximum(x, 0)


def res_block(x, params):
    """`x + conv(relu(conv(relu(x))))`."""
    inner = conv(relu(x), params["conv1"])
    return x + conv(relu(inner), params["conv2"])


def double(x):
    """Bilinear enlargement by two with half-pixel centres and repeated borders."""
    for axis in (1, 2):
        size = x.shape[axis]
        place = (np.arange(2 * size) + 0.5) / 2 - 0.5
        low = np.floor(place).astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(4)])
        before, after = (
            np.take(x, np.clip(index, 0, size - 1), axis) for index in (low, low + 1)
        )
        x = (1 - share) * before + share * after
    return x
