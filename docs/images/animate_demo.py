"""Makes the moving picture of the README of what `make demo` has written.

python docs/images/animate_demo.py demo docs/images/demo.webp
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.media import (
    atomic_path,
    blend,
    contact_sheet,
    open_frames,
    read_labels,
)

_CELL_WIDTH = 300
_SHOWN_MS = 125
_HELD_MS = 1200
"""How long a frame is shown, and how long the first and the last one are."""


def animate(demo: Path, out: Path) -> None:
    """Frames above, the same with their masks below; the clips side by side.

    Args:
      demo: Folder that `vos-jax demo --out` has written.
      out: The animated WebP, which repeats for ever.
    """
    folders = sorted((demo / "data" / "JPEGImages" / "480p").iterdir())
    clips = [list(open_frames(folder)) for folder in folders]
    masks = [
        [read_labels(path) for path in sorted((demo / "masks" / name).glob("*.png"))]
        for name in (folder.name for folder in folders)
    ]
    pictures = []
    for time in range(min(map(len, clips))):
        plain = [frames[time] for frames in clips]
        tinted = [
            blend(frames[time], found[time])
            for frames, found in zip(clips, masks, strict=True)
        ]
        said = "masks that are given" if time == 0 else "masks that are found"
        captions = [
            [""] * len(plain),
            [f"frame {time}: {said}"] + [""] * (len(plain) - 1),
        ]
        pictures.append(
            contact_sheet([plain, tinted], captions, cell_width=_CELL_WIDTH)
        )
    write_animation(out, pictures)


def write_animation(out: Path, pictures: list[np.ndarray]) -> None:
    """Writes pictures `uint8 [H, W, 3]` as an animated WebP, whole or not at all."""
    shown = [_HELD_MS, *[_SHOWN_MS] * (len(pictures) - 2), _HELD_MS]
    first, *others = map(Image.fromarray, pictures)
    with atomic_path(out) as temporary:
        first.save(
            temporary,
            format="webp",
            save_all=True,
            append_images=others,
            duration=shown,
            loop=0,
            quality=82,
            method=6,
        )


if __name__ == "__main__":
    animate(Path(sys.argv[1]), Path(sys.argv[2]))
