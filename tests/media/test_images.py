import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vos_jax.errors import InputError
from vos_jax.media import images
from vos_jax.media.images import load_deep, load_image, read_header, read_size

# A corner that tells all eight orientations apart, in blocks that JPEG keeps.
STORED = np.kron([[255, 0, 0], [128, 0, 0]], np.ones((16, 16))).astype(np.uint8)


def exif(number: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = number
    return block.tobytes()


def xmp(number: int) -> bytes:
    return (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description "
        f"tiff:Orientation = '{number}'/></x:xmpmeta>"
    ).encode()


def chunk(name: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def with_last_chunk(path: Path, name: bytes, data: bytes) -> None:
    """Writes a PNG that says something behind its pixels."""
    Image.fromarray(STORED).save(path)
    content = path.read_bytes()
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:end] + chunk(name, data) + content[end:])


def raw_profile(number: int) -> bytes:
    block = exif(number)
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n"
    return b"Raw profile type exif\0\0" + zlib.compress(text.encode())


def save(path: Path, **options: object) -> None:
    Image.fromarray(STORED).save(path, **options)


WAYS: dict[str, Callable[[Path, int], None]] = {
    "exif.jpg": lambda p, n: save(p, exif=exif(n), quality=95),
    "xmp.jpg": lambda p, n: save(p, xmp=xmp(n), quality=95),
    "exif.webp": lambda p, n: save(p, exif=exif(n), lossless=True),
    "xmp.webp": lambda p, n: save(p, xmp=xmp(n), lossless=True),
    "exif.png": lambda p, n: save(p, exif=exif(n)),
    "late_exif.png": lambda p, n: with_last_chunk(p, b"eXIf", exif(n)[6:]),
    "late_text.png": lambda p, n: with_last_chunk(p, b"zTXt", raw_profile(n)),
    "late_xmp.png": lambda p, n: with_last_chunk(
        p, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(n)
    ),
}


def shown(number: int) -> np.ndarray:
    """What Pillow's own reader of EXIF makes of the stored pixels."""
    image = Image.fromarray(STORED)
    image.getexif()[0x0112] = number
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("name", WAYS)
def test_size_and_pixels_agree_in_every_orientation(tmp_path: Path, name: str):
    for number in range(1, 9):
        WAYS[name](tmp_path / name, number)
        pixels = np.asarray(load_image(tmp_path / name).convert("L")).astype(int)
        assert read_size(tmp_path / name) == pixels.shape == shown(number).shape
        assert np.abs(pixels - shown(number)).max() < 8


@pytest.mark.parametrize("number", [0, 9, 300])
def test_what_is_no_orientation_turns_nothing(tmp_path: Path, number: int):
    save(tmp_path / "a.png", exif=exif(number))
    assert read_size(tmp_path / "a.png") == STORED.shape
    assert np.array_equal(load_image(tmp_path / "a.png"), STORED)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_damaged_exif_block_turns_nothing(tmp_path: Path, name: str):
    save(tmp_path / name, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff junk", quality=95)
    assert read_size(tmp_path / name) == STORED.shape
    assert load_image(tmp_path / name).size == STORED.shape[::-1]


def test_exif_is_believed_before_xmp(tmp_path: Path):
    save(tmp_path / "a.webp", exif=exif(1), xmp=xmp(6), lossless=True)
    assert read_size(tmp_path / "a.webp") == STORED.shape


def test_a_palette_and_its_indices_survive_turning(tmp_path: Path):
    image = Image.fromarray(STORED).convert("P")
    image.save(tmp_path / "a.png", exif=exif(6))
    turned = load_image(tmp_path / "a.png")
    assert turned.mode == "P"
    assert np.array_equal(turned, np.rot90(np.asarray(image), -1))


def test_a_png_without_late_metadata_is_not_decoded_for_its_size(
    tmp_path: Path, monkeypatch
):
    with_last_chunk(tmp_path / "a.png", b"tEXt", b"date:modify\0today")
    monkeypatch.setattr(images.Image.Image, "load", None)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", None)
    assert read_size(tmp_path / "a.png") == STORED.shape


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_16_bits_of_a_png_are_read(tmp_path: Path, channels: int):
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    values = np.random.default_rng(0).integers(0, 1 << 16, (5, 7, channels))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, colour, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"eXIf", exif(6)[6:])
        + chunk(b"IEND", b"")
    )
    expected = values[..., :3] if channels > 2 else values[..., :1]
    pixels = load_deep(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").is_deep
    assert pixels.dtype == np.uint16 and pixels.shape[:2] == (7, 5)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    assert (pixels == np.rot90(expected, -1)).all()


def test_eight_bits_are_not_deep(tmp_path: Path):
    for name in ("a.png", "a.jpg", "a.webp", "a.bmp"):
        save(tmp_path / name)
        assert not read_header(tmp_path / name).is_deep


def test_a_cut_off_16_bit_png_is_refused(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 1 << 16, (60, 80), np.uint16)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(InputError, match=r"a\.png is damaged"):
        load_deep(tmp_path / "a.png")
