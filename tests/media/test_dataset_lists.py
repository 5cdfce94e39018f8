"""Lists as programs of all systems write them, and as both releases have them."""

import json
import warnings

import pytest

from vos_jax import InputWarning
from vos_jax.errors import InputError
from vos_jax.media.dataset_lists import (
    davis_resolution,
    davis_videos,
    read_json,
    read_meta,
    read_names,
)

PAIRS = [
    "/JPEGImages/480p/{0}/{1}.jpg /Annotations/480p/{0}/{1}.png 1",
    "JPEGImages/1080p/{0}/{1}.JPG\tAnnotations/1080p/{0}/{1}.png",
    r"\JPEGImages\480p\{0}\{1}.jpg \Annotations\480p\{0}\{1}.png",
    r"D:\My Data v1.0 here\JPEGImages\480p\{0}\{1}.png D:\Annotations\{0}\{1}.png",
    "./{0}/{1}.jpeg",
]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_list(root, place, content, split="val"):
    return write(root / "ImageSets" / place / f"{split}.txt", content)


def pairs(form, *names):
    lines = [form.format(name, stem) for name in names for stem in ("00000", "00001")]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "lines",
    [
        ["swan", "bär"],
        ["", "swan \t", "", "  bär", "", ""],
        ["# those that move", "swan", "#goat", "bär"],
        ["swan", "\ufeffbär"],
    ],
)
def test_a_list_is_read_whoever_wrote_it(tmp_path, encoding, end, lines):
    write_list(tmp_path, "2017", end.join(lines).encode(encoding))
    assert davis_videos(tmp_path, "2017", "val", "480p") == ["swan", "bär"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("bär\n".encode("latin-1"), "is no UTF-8 text; save it as UTF-8"),
        ("swan\n".encode("utf-16-le"), "is no folder name"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"# nothing but this\n", "is empty"),
        (b"swan\nbear\nswan\n", "lists swan twice"),
        (b"swan\n/JPEGImages/480p/bear/0.jpg\n", "is no folder name"),
        (b"../swan\n", "is no folder name"),
        (b"../../a.jpg\n", "'..' is no folder name"),
    ],
)
def test_a_list_of_something_else_is_named(tmp_path, content, found):
    write_list(tmp_path, "2017", content)
    with pytest.raises(InputError, match=rf"2017/val\.txt.*{found}") as error:
        davis_videos(tmp_path, "2017", "val", "480p")
    assert "\n" not in str(error.value)


def test_a_name_may_have_blanks_in_it(tmp_path):
    write_list(tmp_path, "2017", "my cat\nswan\n")
    assert davis_videos(tmp_path, "2017", "val", "480p") == ["my cat", "swan"]


def test_lists_of_images_may_say_more_after_the_name(tmp_path):
    path = write(tmp_path / "mine.txt", "\ufeff2007_000032  1\r\n2007_000039 -1\r\n")
    assert read_names(path) == ["2007_000032", "2007_000039"]


@pytest.mark.parametrize("form", PAIRS)
@pytest.mark.parametrize("place", ["480p", "2016"])
def test_pairs_of_files_name_videos_wherever_they_lie(tmp_path, form, place):
    write_list(tmp_path, place, pairs(form, "swan", "bmx-bumps"), "trainval")
    found = davis_videos(tmp_path, "2016", "trainval", "480p")
    assert found == ["swan", "bmx-bumps"]


def test_the_lists_of_480p_serve_other_resolutions_without_any(tmp_path):
    write_list(tmp_path, "480p", pairs(PAIRS[0], "swan"))
    assert davis_videos(tmp_path, "2016", "val", "240p") == ["swan"]
    write_list(tmp_path, "240p", pairs(PAIRS[0], "swan"))
    assert davis_videos(tmp_path, "2016", "val", "240p") == ["swan"]


def test_two_lists_of_the_same_videos_are_one(tmp_path):
    write_list(tmp_path, "480p", pairs(PAIRS[0], "swan", "bear"))
    write_list(tmp_path, "2016", "bear\nswan\n")
    # Of the lists that are not taken, the kind does not matter.
    write_list(tmp_path, "1080p", "swan\nbear\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = davis_videos(tmp_path, "2016", "val", "1080p")
    assert found == ["bear", "swan"]


def test_of_two_lists_that_differ_one_is_taken_and_both_are_named(tmp_path):
    write_list(tmp_path, "480p", pairs(PAIRS[0], "swan", "bear"))
    write_list(tmp_path, "2016", "swan\n")
    found = r"2016/val\.txt is taken, and not .*480p/val\.txt.*\(bear is in one"
    with pytest.warns(InputWarning, match=found):
        assert davis_videos(tmp_path, "2016", "val", "480p") == ["swan"]


def test_lists_of_2016_are_none_of_2017(tmp_path):
    write_list(tmp_path, "480p", pairs(PAIRS[0], "swan"))
    with pytest.raises(InputError, match=r"2017/val\.txt cannot be read.*none"):
        davis_videos(tmp_path, "2017", "val", "480p")


def test_a_missing_list_is_named_with_the_splits_there_are(tmp_path):
    write_list(tmp_path, "480p", "", "train")
    write_list(tmp_path, "480p", "", "._train")
    with pytest.raises(InputError, match=r"480p/val\.txt cannot .*: \['train'\]"):
        davis_videos(tmp_path, "2016", "val", "480p")


def test_folders_that_systems_leave_are_no_resolutions(tmp_path):
    for name in ("240p", "__MACOSX", ".git"):
        (tmp_path / "Annotations" / name).mkdir(parents=True)
    assert davis_resolution(tmp_path, None) == "240p"
    with pytest.raises(InputError, match=r"no folder 480p and holds \['240p'\]"):
        davis_resolution(tmp_path, "480p")


def write_meta(path, stems, encoding="utf-8"):
    objects = {"10": {"frames": ["7"]}, "2": {"category": "owl", "frames": stems}}
    content = json.dumps({"videos": {"0a": {"objects": objects}}}, indent=1)
    return write(path, content.replace("\n", "\r\n").encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_frames_of_an_object_are_in_order_of_time(tmp_path, encoding):
    meta = write_meta(tmp_path / "meta.json", ["10", "9", "11", "9"], encoding)
    objects = read_meta(meta)["0a"]
    assert list(objects) == [2, 10]
    assert objects[2] == (("9", "10", "11"), "owl")
    assert objects[10].category is None


@pytest.mark.parametrize("stems", ["00000", [], ["../0"], None])
def test_frames_that_are_no_list_of_names_are_refused(tmp_path, stems):
    with pytest.raises(InputError, match="video 0a needs objects"):
        read_meta(write_meta(tmp_path / "meta.json", stems))


def test_json_of_another_encoding_is_named(tmp_path):
    path = write(tmp_path / "meta.json", '{"a": "bär"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"meta\.json is no UTF-8 text"):
        read_json(path)
