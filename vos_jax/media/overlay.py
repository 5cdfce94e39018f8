"""Pictures for people: coloured objects on frames, contact sheets, videos."""

import colorsys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageDraw, ImageFont

from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path, write_error
from vos_jax.types import IGNORE

# Ids 1 to 6 keep the hues of the DAVIS palette, but bright enough for dark frames;
# the rest fill the gaps between them.
_COLOURS = (
    (239, 68, 68),
    (52, 211, 83),
    (250, 204, 21),
    (59, 130, 246),
    (217, 70, 239),
    (34, 211, 238),
    (249, 130, 40),
    (139, 92, 246),
    (163, 230, 53),
    (244, 114, 182),
    (20, 160, 140),
    (190, 130, 85),
)
_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_ISO_FORMATS = frozenset({"mp4", "mov"})

_GOLDEN_ANGLE = 0.381966

_PAPER = (250, 250, 249)
_INK = (41, 37, 36)
_FAINT_INK = (110, 104, 100)


@cache
def overlay_colours() -> np.ndarray:
    """Returns the colour of every label in an overlay, `uint8 [256, 3]`, RGB.

    Unlike the DAVIS palette, which files need, neighbouring ids differ in hue and are
    bright. Read-only; 0 and 255 are black.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[1 : 1 + len(_COLOURS)] = _COLOURS
    for i in range(1 + len(_COLOURS), IGNORE):
        hue = (0.5 + i * _GOLDEN_ANGLE) % 1
        light = (0.5, 0.68, 0.4)[i % 3]
        colours[i] = np.rint(255 * np.array(colorsys.hls_to_rgb(hue, light, 0.8)))
    colours.flags.writeable = False
    return colours


def blend(
    frame: np.ndarray,
    labels: np.ndarray,
    alpha: float = 0.5,
    colours: np.ndarray | None = None,
) -> np.ndarray:
    """Tints the objects of a frame; a bright rim and a dark line outside mark edges.

    Args:
      frame: `uint8 [H, W, 3]`, RGB.
      labels: `uint8 [H, W]`; 0 and 255 get no tint.
      alpha: Weight of the tint, from 0 (edges only) to 1.
      colours: Of the labels, `uint8 [256, 3]`, RGB; by default `overlay_colours`.

    Returns:
      A new `uint8 [H, W, 3]`.

    Raises:
      ValueError: The sizes differ.
    """
    if frame.shape != (*labels.shape, 3):
        raise ValueError(
            f"frame {list(frame.shape)} and labels {list(labels.shape)} differ in size"
        )
    colours = overlay_colours() if colours is None else colours
    inside = (labels > 0) & (labels < IGNORE)
    blended = frame.copy()
    weight = round(256 * alpha)
    tint = colours[labels[inside]].astype(np.uint16) * weight
    blended[inside] = (frame[inside] * np.uint16(256 - weight) + tint) >> 8
    edge = _touches_other(labels)
    rim = inside & edge
    blended[rim] = colours[labels[rim]]
    # The bright rim stands out on dark ground, the shade around it on bright ground.
    shade = edge & ~inside
    blended[shade] = (frame[shade] * np.uint16(90)) >> 8
    return blended


def _touches_other(labels: np.ndarray) -> np.ndarray:
    """Marks the pixels that have a side in common with another label."""
    other = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    other[1:] |= down
    other[:-1] |= down
    other[:, 1:] |= right
    other[:, :-1] |= right
    return other


class VideoWriter:
    """Writes frames as H.264 (yuv420p, tagged BT.601), which plays everywhere.

    An odd height or width is padded by one row or column, as the format needs even
    ones. The file appears under its name when it is closed; an exception that leaves
    the `with` block discards it, and so does closing it without a frame.
    """

    def __init__(
        self, path: str | Path, fps: float | None, size: tuple[int, int]
    ) -> None:
        """Opens the file.

        Args:
          path: A name in `.mp4`, `.mov` or `.mkv`.
          fps: Frames per second; 24 if None.
          size: (height, width) of the frames.

        Raises:
          InputError: The file cannot be written.
        """
        self.path = Path(path)
        self.size = size
        self._count = 0
        container_format = _FORMATS.get(self.path.suffix.lower())
        if container_format is None:
            raise InputError(
                f"{path} is no video name; let it end in {', '.join(_FORMATS)}"
            )
        # MP4 and MOV play in a browser before they are loaded if the index is in front.
        options = {"movflags": "faststart"} if container_format in _ISO_FORMATS else {}
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            stack.enter_context(_encoder_errors(self.path))
            # The encoder opens its file at the first frame; an error should not wait.
            temporary.touch()
            self._container: Any = stack.enter_context(
                av.open(
                    f"file:{temporary}", "w", format=container_format, options=options
                )
            )
            self._stream = self._add_stream(fps or 24)
            self._stack = stack.pop_all()

    def _add_stream(self, fps: float) -> Any:
        height, width = self.size
        rate = Fraction(fps).limit_denominator(1001)
        options = {"crf": "18", "preset": "veryfast"}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        # Players take untagged high-definition video for BT.709 and shift its colours.
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
        return stream

    def write(self, frame: np.ndarray) -> None:
        """Appends one frame, `uint8 [H, W, 3]`, RGB.

        Raises:
          InputError: The file cannot be written.
          ValueError: The frame has another size.
        """
        height, width = self.size
        if frame.shape != (height, width, 3):
            raise ValueError(
                f"a frame is {list(frame.shape)}; give {[height, width, 3]}"
            )
        padding = ((0, height % 2), (0, width % 2), (0, 0))
        padded = np.ascontiguousarray(np.pad(frame, padding, mode="edge"))
        picture = av.VideoFrame.from_ndarray(padded, format="rgb24")
        picture.pts = self._count
        self._count += 1
        self._encode(picture)

    def close(self) -> None:
        """Finishes the file and gives it its name.

        Raises:
          InputError: The file cannot be written.
        """
        if self._count == 0:
            self._discard()
            return
        with self._stack:
            self._encode(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._discard()

    def _encode(self, picture: av.VideoFrame | None) -> None:
        with _encoder_errors(self.path):
            for packet in self._stream.encode(picture):
                self._container.mux(packet)

    def _discard(self) -> None:
        # `atomic_path` keeps no file whose writing ends in an exception.
        discarded = _Discarded()
        with suppress(_Discarded, InputError), self._stack:
            raise discarded


class _Discarded(Exception):
    pass


@contextmanager
def _encoder_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        raise write_error(path, OSError(error.errno, error.strerror)) from error
    except OSError as error:
        raise write_error(path, error) from error


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[Sequence[str]],
    title: str = "",
    cell_width: int = 320,
) -> np.ndarray:
    """Lays pictures out in rows with a caption under each.

    Args:
      rows: Pictures `uint8 [h, w, 3]`, RGB, of any sizes; each is scaled to
        `cell_width`. Rows may differ in length.
      captions: One text for each picture, in the same nesting; "" for none.
      title: One line above all.
      cell_width: Width of a picture on the sheet, in pixels.

    Returns:
      The sheet, `uint8 [H, W, 3]`.

    Raises:
      ValueError: There is no picture, or rows and captions do not match.
    """
    if [len(row) for row in rows] != [len(row) for row in captions]:
        raise ValueError(
            "captions and rows differ in length; give one for each picture"
        )
    if not any(len(row) for row in rows):
        raise ValueError("there is no picture to lay out; give at least one")
    text_size = max(11, cell_width // 22)
    gap = max(6, cell_width // 24)
    font = ImageFont.load_default(size=text_size)
    title_font = ImageFont.load_default(size=round(1.5 * text_size))
    cells = [[_scale(picture, cell_width) for picture in row] for row in rows]
    caption_height = [2 * text_size if any(row) else 0 for row in captions]
    title_height = round(3 * text_size) if title else 0
    row_heights = [
        max((cell.height for cell in row), default=0) + below
        for row, below in zip(cells, caption_height, strict=True)
    ]
    columns = max(len(row) for row in rows)
    width = columns * cell_width + (columns + 1) * gap
    height = title_height + sum(row_heights) + (len(rows) + 1) * gap
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, gap), title, fill=_INK, font=title_font)
    top = gap + title_height
    for row, texts, row_height in zip(cells, captions, row_heights, strict=True):
        for column, (cell, text) in enumerate(zip(row, texts, strict=True)):
            left = gap + column * (cell_width + gap)
            sheet.paste(cell, (left, top))
            text = _shorten(text, font, cell_width)
            below = (left, top + cell.height + text_size // 3)
            draw.text(below, text, fill=_FAINT_INK, font=font)
        top += row_height + gap
    return np.array(sheet)


def _scale(picture: np.ndarray, width: int) -> Image.Image:
    image = Image.fromarray(picture)
    height = max(1, round(image.height * width / image.width))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _shorten(text: str, font: Any, width: int) -> str:
    """Cuts a text that is wider than its picture."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
