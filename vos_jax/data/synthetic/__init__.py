"""Synthetic videos with exact masks, drawn from a seed: NumPy only, no download.

Textured objects deform, turn and occlude one another over a moving, cluttered
background. Background, clutter, objects and unlabelled distractors take their
textures and outlines from the same families, so neither motion, contrast nor outline
alone tells an object: its appearance in the first frame does.

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
