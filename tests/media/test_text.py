import pytest

from vos_jax.media.text import read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_of_all_systems_are_read(tmp_path, encoding, end):
    path = tmp_path / "val.txt"
    path.write_bytes(f"bär{end}camel{end}".encode(encoding))
    assert read_text(path) == "bär\ncamel\n"


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "val.txt"
    path.write_bytes(b"b\xe4r\n")
    with pytest.raises(UnicodeDecodeError):
        read_text(path)
