from __future__ import annotations

import tracemalloc

import pytest

from osteon.clinical.multipart import Multipart, boundary_of, parts
from osteon.errors import InputError

BODY = b"--edge\r\nContent-Type: application/dicom\r\n\r\nfirst\r\n--edge\r\n\r\n\r\n--edge--\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_parts_are_found_however_they_are_cut(tmp_path, size):
    contents = [b"", b"\r\n--almost", bytes(range(256)) * 5, b"--\r\n"]
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(content)
    body = Multipart(paths)
    data = b"".join(body)
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    assert list(parts(chunks, boundary_of(body.content_type), 10_000)) == contents


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_that_end_in_lf_alone(size):
    """As of services that are no strict reader's; a CR at the end of a part is the part's own."""
    contents = [b"", b"ends in CR\r", b"\r\n\r\nin CRLF\r\n", b"\n--almost\n"]
    data = (
        b"what stands before\n" + b"".join(b"--edge \nA: b\n\n" + content + b"\n" for content in contents) + b"--edge--"
    )
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    assert list(parts(chunks, b"edge", 1000)) == contents


@pytest.mark.parametrize("body", [b"--edge--", b"--edge--\r\n", b"\r\n--edge--\n"])
def test_body_of_no_parts(body):
    assert list(parts([body], b"edge", 1000)) == []


@pytest.mark.parametrize("body", [BODY[:50], BODY[:4], b""])
def test_body_cut_off(body):
    with pytest.raises(InputError, match="ends early"):
        list(parts([body], b"edge", 1000))


def test_body_of_another_boundary():
    with pytest.raises(InputError, match="does not begin with the boundary"):
        list(parts([BODY, bytes(20_000)], b"other", 100_000))


def test_length_of_a_body(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"\r\n" * len(path.name))
    for some in ([], paths[:1], paths):
        body = Multipart(some)
        assert body.length == len(b"".join(body))


def test_part_without_headers():
    with pytest.raises(InputError, match="no headers"):
        list(parts([b"--edge\r\nwhatever\r\n--edge--"], b"edge", 1000))


def test_a_large_part_is_in_memory_twice_and_not_more_often():
    def large():
        yield b"--edge\r\n\r\n"
        for _ in range(40):
            yield bytes(1_000_000)
        yield b"\r\n--edge--\r\n"

    tracemalloc.start()
    sizes = [len(part) for part in parts(large(), b"edge", 50_000_000)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sizes == [40_000_000]
    assert most < 100_000_000


def test_part_beyond_the_bound_is_not_read_to_its_end():
    def endless():
        yield b"--edge\r\n\r\n"
        while True:
            yield bytes(10_000)

    with pytest.raises(InputError, match="larger than"):
        list(parts(endless(), b"edge", 100_000))


@pytest.mark.parametrize("kind", ["", "text/html", "multipart/related; type=x"])
def test_answers_of_another_kind(kind):
    with pytest.raises(InputError):
        boundary_of(kind)


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/related; boundary="a b"; type=x',
        "Multipart/Related; boundary=a b",
        'multipart/related; type="application/dicom;boundary=other"; boundary="a b"',
        'multipart/related; start="<boundary=1@x>"; x-boundary=other; BOUNDARY="a b"',
    ],
)
def test_boundaries(kind):
    assert boundary_of(kind) == b"a b"
