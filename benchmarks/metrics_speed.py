"""Times J and F per object and 480p frame against a straightforward baseline.

The baseline does what the official DAVIS evaluator does: float64 masks of the whole
frame, boundary maps by shifted copies, one dilation by a disk for each map. Both run on
the same masks in the same process.

    python benchmarks/metrics_speed.py
    python benchmarks/metrics_speed.py --annotations DIR --results DIR

Needs OpenCV (`pip install opencv-python-headless`), which the package itself does not.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vos_jax.evaluation import contour_accuracy, region_similarity, score_frame
from vos_jax.media import read_labels

HEIGHT, WIDTH = 480, 854
Pair = tuple[np.ndarray, np.ndarray]


def baseline_j(predicted: np.ndarray, annotated: np.ndarray) -> float:
    """J on whole float64 masks."""
    predicted, annotated = predicted.astype(bool), annotated.astype(bool)
    union = np.sum(predicted | annotated)
    return float(np.sum(predicted & annotated) / union) if union else 1.0


def baseline_boundary(mask: np.ndarray) -> np.ndarray:
    """The boundary map of a whole mask."""
    mask = mask.astype(bool)
    right, below, diagonal = np.zeros((3, *mask.shape), bool)
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    boundary = mask ^ right | mask ^ below | mask ^ diagonal
    boundary[-1] = mask[-1] ^ right[-1]
    boundary[:, -1] = mask[:, -1] ^ below[:, -1]
    boundary[-1, -1] = False
    return boundary


def baseline_f(predicted: np.ndarray, annotated: np.ndarray) -> float:
    """F by dilation of whole boundary maps with a disk."""
    radius = int(np.ceil(0.008 * np.linalg.norm(predicted.shape)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (y * y + x * x <= radius * radius).astype(np.uint8)
    first, second = baseline_boundary(predicted), baseline_boundary(annotated)
    near_first = cv2.dilate(first.astype(np.uint8), disk)
    near_second = cv2.dilate(second.astype(np.uint8), disk)
    found, wanted = np.sum(first), np.sum(second)
    if not found or not wanted:
        return float(found == wanted)
    precision = np.sum(first * near_second) / found
    recall = np.sum(second * near_first) / wanted
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


def generated_pairs(count: int) -> list[Pair]:
    """Wobbly ellipses of all sizes; the prediction is moved and ragged at its edge."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pairs = []
    for _ in range(count):
        centre_y, centre_x = rng.uniform(0.2, 0.8, 2) * (HEIGHT, WIDTH)
        radius_y, radius_x = rng.uniform(0.05, 0.35, 2) * HEIGHT

        def blob(
            shift: float,
            centre: tuple[float, float] = (centre_y, centre_x),
            radii: tuple[float, float] = (radius_y, radius_x),
            phase: float = rng.uniform(0, 6),
        ) -> np.ndarray:
            dy = (y - centre[0] - shift) / radii[0]
            dx = (x - centre[1] - shift) / radii[1]
            wobble = 1 + 0.15 * np.sin(7 * np.arctan2(dy, dx) + phase)
            return np.hypot(dy, dx) / wobble

        noise = cv2.GaussianBlur(rng.normal(0, 0.6, (HEIGHT, WIDTH)), (0, 0), 3)
        predicted = blob(rng.uniform(-6, 6)) + noise < 1
        pairs.append((predicted.astype(np.uint8), (blob(0) < 1).astype(np.uint8)))
    return pairs


def folder_pairs(annotations: Path, results: Path, count: int) -> list[Pair]:
    """Evenly spaced pairs of `<sequence>/<frame>.png`, non-zero as one object."""
    common = [
        (path, annotations / path.relative_to(results))
        for path in sorted(results.glob("*/*.png"))
        if (annotations / path.relative_to(results)).is_file()
    ]
    return [
        tuple((read_labels(path) != 0).astype(np.uint8) for path in pair)
        for pair in common[:: max(1, len(common) // count)]
    ]


def median_ms(
    function: Callable[..., object], pairs: list[tuple], repeats: int
) -> float:
    """Median over all calls, in milliseconds."""
    times = []
    for _ in range(repeats):
        for pair in pairs:
            start = time.perf_counter()
            function(*pair)
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    """Prints the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=Path, help="folder of <sequence>/*.png")
    parser.add_argument("--results", type=Path, help="folder of <sequence>/*.png")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if (args.annotations is None) != (args.results is None):
        parser.error("give --annotations and --results, or neither")
    cv2.setNumThreads(1)
    if args.annotations is None:
        pairs = generated_pairs(args.pairs)
    else:
        pairs = folder_pairs(args.annotations, args.results, args.pairs)
    floats = [tuple(mask.astype(np.float64) for mask in pair) for pair in pairs]
    bools = [tuple(mask != 0 for mask in pair) for pair in pairs]

    def baseline(predicted: np.ndarray, annotated: np.ndarray) -> tuple[float, float]:
        masks = predicted == 1, annotated == 1
        return baseline_j(*masks), baseline_f(*masks)

    for pair in pairs:
        (j,), (f,) = score_frame(*pair, [1])
        if (j, f) != baseline(*pair):
            raise SystemExit("the baseline gives other scores")
    rows: list[tuple[str, Callable[..., object], list, Callable[..., object], list]] = [
        ("J", region_similarity, bools, baseline_j, floats),
        ("F", contour_accuracy, bools, baseline_f, floats),
        ("J and F", lambda p, a: score_frame(p, a, [1]), pairs, baseline, floats),
    ]
    print(f"{len(pairs)} pairs, one object each, medians in ms on one thread")
    print(f"{'':8}{'ours':>8}{'baseline':>10}{'ratio':>8}")
    for name, ours, our_input, theirs, their_input in rows:
        mine = median_ms(ours, our_input, args.repeats)
        other = median_ms(theirs, their_input, args.repeats)
        print(f"{name:8}{mine:8.3f}{other:10.3f}{other / mine:8.1f}")


if __name__ == "__main__":
    main()
