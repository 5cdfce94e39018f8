"""Synthetic videos with exact masks, drawn from a seed: NumPy only, no download.

Objects deform, turn and occlude one another over a moving, cluttered background.
Background, clutter, objects and unlabelled distractors take their looks and outlines
from the same families, so neither motion, contrast nor outline alone tells an object:
its appearance in the first frame does.

A theme says what there is: shapes (`scenes`, `objects`, `textures`), or worlds
(`worlds`, `actors`) of `figures` with many parts, made of `surfaces` by `bodies` and
laid on the picture by `painting`. One `camera` films them all.

Units: pixels for positions, frames for times, radians for angles. An object's own
frame has its mean radius as the unit of length.
"""

from vos_jax.data.synthetic.clips import (
    THEMES,
    Clip,
    generate_clip,
    generate_frames,
    iterate_clip,
)

__all__ = ["THEMES", "Clip", "generate_clip", "generate_frames", "iterate_clip"]
