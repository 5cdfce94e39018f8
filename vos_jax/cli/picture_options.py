"""Options that the scripts share which draw what a method does in a video."""

import argparse
from pathlib import Path

from vos_jax.cli import options


def add_picture_options(
    parser: argparse.ArgumentParser, method: str, out: str = "PNG"
) -> None:
    """The video and the network; `method` is the one to use by default.

    `out` says what is written: one picture, or a folder of some.
    """
    parser.add_argument("video", nargs="?", type=Path, help="a file or a folder")
    parser.add_argument("--mask", type=Path, metavar="PATH", help="of its first frame")
    parser.add_argument(
        "--generated", type=int, metavar="SEED", help="a generated clip instead"
    )
    parser.add_argument("--method", default=method, metavar="NAME")
    parser.add_argument("--weights", type=Path, metavar="PATH")
    options.add_set_option(parser, options.SET_METHOD)
    parser.add_argument("--out", type=Path, required=True, metavar=out)


def add_pixel_options(
    parser: argparse.ArgumentParser, frame: str = "from 0", pixel: str = "a pixel"
) -> None:
    """The frame, the object and the pixel to look at; says which ones they may be."""
    parser.add_argument("--frame", type=int, default=12, metavar="N", help=frame)
    parser.add_argument("--object", type=int, default=1, metavar="ID")
    parser.add_argument(
        "--at", type=int, nargs=2, metavar=("ROW", "COLUMN"), help=pixel
    )
