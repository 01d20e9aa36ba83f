import io
import os
import pickle
import struct
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from osteon.data.images import Limits, UnreadableImageError, read_image, read_image_uint8, to_uint8

HEIGHT, WIDTH = 40, 56
GRADIENT = (np.add.outer(np.arange(HEIGHT) * 3, np.arange(WIDTH) * 2) % 256).astype(np.uint8)
DEEP = np.add.outer(np.arange(HEIGHT) * 1000, np.arange(WIDTH) * 300).astype(np.uint16)


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason(source: bytes | Path, **options: object) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_image(source, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 3
    assert caught.value.refusal.detail in str(caught.value)
    return caught.value.refusal.reason


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_grey_values_are_kept(kind: str) -> None:
    image = read_image(encoded(GRADIENT, kind))
    assert image.pixels.dtype == np.uint8
    assert np.array_equal(image.pixels, GRADIENT)
    assert (image.damaged, image.notes) == (False, ())


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_sixteen_bits_stay_sixteen(kind: str, options: dict[str, str]) -> None:
    image = read_image(encoded(DEEP, kind, **options))
    assert image.pixels.dtype == np.uint16
    assert np.array_equal(image.pixels, DEEP)


def test_big_endian_tiff() -> None:
    image = read_image(tiff(DEEP.astype(">u2").tobytes(), DEEP.shape, bits=16, order=">"))
    assert image.pixels.dtype.isnative
    assert np.array_equal(image.pixels, DEEP)


def test_white_is_zero_is_turned_round_at_both_depths() -> None:
    shallow = read_image(tiff(GRADIENT.tobytes(), GRADIENT.shape, bits=8, photometric=0)).pixels
    assert np.array_equal(shallow, 255 - GRADIENT)
    deep = read_image(tiff(DEEP.astype("<u2").tobytes(), DEEP.shape, bits=16, photometric=0)).pixels
    assert np.array_equal(deep, np.uint16(65535) - DEEP)


def test_jpeg_is_close_to_what_was_written() -> None:
    smooth = (GRADIENT // 4 + 60).astype(np.uint8)[:30, :40]
    grey = read_image(encoded(smooth, "JPEG", quality=95)).pixels
    colour = read_image(encoded(Image.fromarray(smooth).convert("RGB"), "JPEG", quality=95)).pixels
    assert np.abs(grey.astype(int) - smooth).max() <= 6
    assert np.abs(colour.astype(int) - grey).max() <= 2


def test_colour_becomes_luma() -> None:
    red = Image.new("RGB", (4, 3), (255, 0, 0))
    assert np.all(read_image(encoded(red, "PNG")).pixels == 76)
    cmyk = Image.new("RGB", (8, 8), (0, 255, 0)).convert("CMYK")
    assert np.abs(read_image(encoded(cmyk, "JPEG", quality=95)).pixels.astype(int) - 150).max() <= 3


def test_palette_and_one_bit() -> None:
    palette = Image.fromarray(GRADIENT // 128 * 255).convert("P")
    assert np.array_equal(read_image(encoded(palette, "PNG")).pixels, GRADIENT // 128 * 255)
    one_bit = Image.fromarray(GRADIENT > 127)
    assert np.array_equal(read_image(encoded(one_bit, "PNG")).pixels, np.where(GRADIENT > 127, 255, 0))
    assert np.array_equal(read_image(encoded(one_bit, "TIFF")).pixels, np.where(GRADIENT > 127, 255, 0))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_over_black(mode: str) -> None:
    image = Image.new("L", (4, 2), 200).convert(mode)
    image.putalpha(Image.fromarray(np.array([[0, 51, 102, 255]] * 2, dtype=np.uint8)))
    assert np.array_equal(read_image(encoded(image, "PNG")).pixels, [[0, 40, 80, 200]] * 2)


def test_transparent_palette_entry_is_black() -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    image.putpalette([250, 250, 250, 90, 90, 90])
    assert np.array_equal(read_image(encoded(image, "PNG", transparency=0)).pixels, [[0, 90]])


def test_deep_colour_says_that_it_was_read_at_8_bits() -> None:
    rows = b"".join(b"\0" + struct.pack(">9H", *[0x8000] * 9) for _ in range(2))
    image = read_image(png(3, 2, 16, 2, rows))
    assert np.all(image.pixels == 128)
    assert image.notes == ("colour of 16 bits a channel, read at 8 bits",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "pixels"), [("JPEG", GRADIENT), ("PNG", GRADIENT), ("PNG", DEEP), ("TIFF", GRADIENT)])
def test_orientation_is_as_pillow_turns_it(kind: str, pixels: np.ndarray, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pixels, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_image(data).pixels, expected)


def test_reduced_decoding_keeps_the_side_asked_for() -> None:
    data = encoded(Image.fromarray(GRADIENT).resize((800, 600)), "JPEG")
    assert read_image(data).pixels.shape == (600, 800)
    assert read_image(data, at_least=150).pixels.shape == (150, 200)
    assert read_image(data, at_least=151).pixels.shape == (300, 400)
    assert read_image(data, at_least=1000).pixels.shape == (600, 800)
    assert read_image(encoded(GRADIENT, "PNG"), at_least=8).pixels.shape == GRADIENT.shape


@pytest.mark.parametrize(("maximum", "top"), [(255, 255), (256, 1023), (4095, 4095), (4096, 16383), (65535, 65535)])
def test_deep_grey_is_scaled_by_the_depth_that_holds_it(maximum: int, top: int) -> None:
    pixels = np.array([[0, maximum // 2, maximum]], dtype=np.uint16)
    scaled = to_uint8(pixels)
    assert scaled.dtype == np.uint8
    assert np.array_equal(scaled, np.rint(pixels * 255.0 / top).astype(np.uint8))
    read = read_image_uint8(encoded(pixels, "PNG"))
    assert np.array_equal(read.pixels, scaled)
    assert (read.damaged, read.notes) == (False, ())


def test_eight_bits_are_left_as_they_are() -> None:
    assert to_uint8(GRADIENT) is GRADIENT
    assert to_uint8(np.zeros((0, 3), dtype=np.uint16)).shape == (0, 3)


# Damaged files


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_cut_jpeg_of_any_colours_says_how_much_is_missing(mode: str, rng: np.random.Generator) -> None:
    grey = rng.integers(70, 200, (320, 160), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).convert("RGB").convert(mode).save(file, "JPEG", quality=90)
    whole = file.getvalue()
    assert read_image(whole).readable == 1
    half = read_image(whole[: len(whole) // 2])
    assert half.damaged
    assert half.readable == pytest.approx(0.5, abs=0.08)
    assert not half.pixels[200:].any()
    assert half.pixels[:100].any(axis=1).all()


def test_truncated_jpeg_is_read_as_far_as_it_goes() -> None:
    whole = encoded(GRADIENT.repeat(8, 0).repeat(8, 1), "JPEG", quality=90)
    image = read_image(whole[: len(whole) * 2 // 3])
    full = read_image(whole).pixels
    rows = int(np.flatnonzero(image.pixels.any(axis=1))[-1]) + 1
    assert image.damaged
    assert 0.4 < rows / len(full) < 0.9
    assert np.array_equal(image.pixels[: rows - 16], full[: rows - 16])
    assert not image.pixels[rows:].any()
    share = 100 * rows / len(full)
    assert image.notes == (f"the file is damaged or ends early; about {share:.0f} % of the picture could be read",)


def test_jpeg_that_ends_before_the_picture_is_refused() -> None:
    whole = encoded(GRADIENT, "JPEG")
    assert reason(whole[: whole.index(b"\xff\xda") + 10]) == "truncated"
    assert reason(whole[:10]) in ("truncated", "corrupt")


def test_jpeg_with_bytes_behind_its_end_is_whole() -> None:
    assert not read_image(encoded(GRADIENT, "JPEG") + b"trailing").damaged


@pytest.mark.parametrize(("interlaced", "side"), [(False, 64), (True, 61), (True, 62), (True, 63)])
@pytest.mark.parametrize("cut", [0.4, 0.7, 0.95])
def test_truncated_png_is_read_as_far_as_it_goes(
    cut: float, interlaced: bool, side: int, rng: np.random.Generator
) -> None:
    pixels = rng.integers(1, 256, (side, side), dtype=np.uint8)
    whole = interlaced_png(pixels) if interlaced else encoded(pixels, "PNG")
    assert np.array_equal(read_image(whole).pixels, pixels)
    image = read_image(whole[: int(len(whole) * cut)])
    right = (image.pixels == pixels).mean()
    assert image.damaged
    assert abs(right - cut) < 0.06
    assert image.notes[0].startswith("the file is damaged or ends early; about")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_cut_png_of_any_colours_says_how_much_is_missing(mode: str, rng: np.random.Generator) -> None:
    noise = rng.integers(60, 256, (61, 67, 4), dtype=np.uint8)
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 200)
    colour = Image.fromarray(noise if "A" in mode else noise[..., :3])
    data = encoded(deep if mode == "I;16" else colour.convert(mode), "PNG", compress_level=0)
    start = data.index(b"IDAT")
    whole, cut = read_image(data), read_image(data[: start + (len(data) - start) * 6 // 10])
    assert cut.readable == pytest.approx(0.6, abs=0.03)
    rows = int(cut.readable * 61)
    assert np.array_equal(cut.pixels[:rows], whole.pixels[:rows])
    assert not cut.pixels[rows + 1 :].any()


def test_png_with_a_broken_byte_is_read_up_to_it(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 200, (64, 64), dtype=np.uint8)
    data = bytearray(encoded(pixels, "PNG"))
    data[len(data) // 2 : len(data) // 2 + 8] = bytes(8)
    image = read_image(bytes(data))
    assert image.damaged
    assert np.array_equal(image.pixels[:28], pixels[:28])


def test_truncated_16_bit_png_stays_16_bit(rng: np.random.Generator) -> None:
    pixels = rng.integers(300, 65536, (32, 32), dtype=np.uint16)
    whole = encoded(pixels, "PNG")
    image = read_image(whole[: len(whole) // 2])
    assert image.pixels.dtype == np.uint16
    assert image.damaged
    assert np.array_equal(image.pixels[:14], pixels[:14])


def test_truncated_png_keeps_its_orientation(rng: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(rng.integers(0, 256, (30, 50), dtype=np.uint8), "PNG", exif=exif)
    assert read_image(whole[: len(whole) // 2]).pixels.shape == (50, 30)


def test_truncated_plain_tiff_is_padded_with_black() -> None:
    whole = tiff(GRADIENT.tobytes(), GRADIENT.shape, bits=8)
    image = read_image(whole[: -WIDTH * 10])
    assert image.damaged
    assert np.array_equal(image.pixels[:-10], GRADIENT[:-10])
    assert not image.pixels[-10:].any()
    assert "about 75 %" in image.notes[0]


def test_a_switch_set_by_others_does_not_hide_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = encoded(GRADIENT.repeat(8, 0).repeat(8, 1), "JPEG")
    cut = jpeg[: len(jpeg) // 2]
    before = read_image(cut)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    after = read_image(cut)
    assert after.damaged
    assert np.array_equal(after.pixels, before.pixels)
    assert not read_image(jpeg).damaged


def test_damaged_and_whole_files_in_many_threads_keep_their_flags() -> None:
    whole = encoded(GRADIENT.repeat(4, 0).repeat(4, 1), "JPEG")
    sources = [whole if index % 2 else whole[: len(whole) // 2] for index in range(200)]
    seen = set()

    def watch() -> None:
        while not done.is_set():
            seen.add(ImageFile.LOAD_TRUNCATED_IMAGES)

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        flags = [image.damaged for image in pool.map(read_image, sources)]
    done.set()
    watcher.join()
    assert flags == [index % 2 == 0 for index in range(200)]
    assert seen == {False}


# Refusals


def test_missing_folder_empty_and_odd_files(tmp_path: Path) -> None:
    assert reason(tmp_path / "no.png") == "missing"
    assert reason(tmp_path) == "not_a_file"
    (tmp_path / "empty.png").touch()
    assert reason(tmp_path / "empty.png") == "zero_bytes"
    (tmp_path / "text.png").write_text("not an image at all")
    assert reason(tmp_path / "text.png") == "not_an_image"
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "not_a_file"
    assert reason(tmp_path / "a\0b.png") == "no_access"


def test_the_refusal_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"no\.png: file not found") as caught:
        read_image(str(tmp_path / "no.png"))
    assert caught.value.refusal.path == str(tmp_path / "no.png")
    with pytest.raises(UnreadableImageError, match="<bytes>"):
        read_image(b"")


def test_bytes_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(10**12)
    assert reason(path) == "too_many_bytes"
    assert reason(encoded(DEEP, "PNG"), limits=Limits(bytes=100)) == "too_many_bytes"


def test_pixels_are_bounded_before_they_are_decoded() -> None:
    assert reason(encoded(GRADIENT, "PNG"), limits=Limits(pixels=HEIGHT * WIDTH - 1)) == "too_many_pixels"
    assert not read_image(encoded(GRADIENT, "PNG"), limits=Limits(pixels=HEIGHT * WIDTH)).damaged
    bomb = png(100_000, 100_000, 8, 0, b"")
    assert len(bomb) < 100
    assert reason(bomb) == "too_many_pixels"
    assert reason(png(12_000, 9_000, 8, 0, b"")) == "too_many_pixels"


def test_dicom_and_other_formats_are_named() -> None:
    assert reason(bytes(128) + b"DICM" + bytes(100)) == "corrupt"
    assert reason(encoded(GRADIENT, "GIF")) == "unsupported_format"
    assert reason(encoded(GRADIENT, "BMP")) == "unsupported_format"
    assert reason(b"\x00\x00\x00\x18ftypheic" + bytes(12)) == "unsupported_format"


@pytest.mark.parametrize(
    "head",
    [
        b"\x08\x00\x05\x00CS\x0a\x00",
        b"\x02\x00\x00\x00UL\x04\x00",
        b"\x08\x00\x16\x00\x1a\x00\x00\x00",
        b"\x00\x08\x00\x16UI",
    ],
)
def test_dicom_without_its_preamble_is_called_so(head: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="looks like DICOM") as caught:
        read_image(head + bytes(200))
    assert caught.value.refusal.reason == "unsupported_format"
    assert caught.value.hint is not None


def test_a_tiff_of_an_unknown_kind_is_not_called_damaged() -> None:
    data = bytearray(encoded(GRADIENT, "TIFF"))
    bits = data.index(struct.pack("<HHI", 258, 3, 1))
    data[bits + 8 : bits + 10] = struct.pack("<H", 24)
    with pytest.raises(UnreadableImageError, match=r"is not read \(24 bits") as caught:
        read_image(bytes(data))
    assert caught.value.refusal.reason == "unsupported_pixels"


@pytest.mark.parametrize("data", [b"II*\x00nonsense" * 3, b"II+\x00", b"\x89PNG\r\n\x1a\nxx", b"\xff\xd8\xff"])
def test_no_address_in_memory_is_shown(data: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="its header cannot be read"):
        read_image(data)


def test_anothers_opener_changes_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def install(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'pi_heif'")  # as Ultralytics' does of what is no picture

    monkeypatch.setattr(Image, "open", install)
    with pytest.raises(UnreadableImageError, match="its header cannot be read"):
        read_image(b"II*\x00nonsense" * 3)


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(encoded(GRADIENT, "JPEG"))
    assert read_image(tmp_path / "picture.png").pixels.shape == GRADIENT.shape


def test_frames() -> None:
    frame = Image.fromarray(GRADIENT)
    assert reason(encoded(frame, "TIFF", save_all=True, append_images=[frame.copy()])) == "several_frames"
    assert reason(encoded(frame, "PNG", save_all=True, append_images=[Image.fromarray(255 - GRADIENT)])) == (
        "several_frames"
    )
    thumbnail = encoded(frame, "TIFF", save_all=True, append_images=[frame.resize((14, 10))])
    image = read_image(thumbnail)
    assert np.array_equal(image.pixels, GRADIENT)
    assert image.notes == ("holds 2 frames; the first and largest is read",)


def test_floating_point_and_out_of_range_values_are_refused() -> None:
    assert reason(encoded(GRADIENT.astype(np.float32), "TIFF")) == "unsupported_pixels"
    assert reason(encoded(np.full((4, 4), -5, dtype=np.int32), "TIFF")) == "unsupported_pixels"
    kept = read_image(encoded(np.full((4, 4), 40_000, dtype=np.int32), "TIFF")).pixels
    assert kept.dtype == np.uint16
    assert np.all(kept == 40_000)


def test_refusals_survive_a_worker_process(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        read_image(tmp_path / "no.png")
    copied = pickle.loads(pickle.dumps(caught.value))
    assert copied.refusal == caught.value.refusal
    assert str(copied) == str(caught.value)
    with ProcessPoolExecutor(1) as pool, pytest.raises(UnreadableImageError, match="file not found"):
        pool.submit(read_image, tmp_path / "no.png").result()


# Any bytes

SAMPLES = [
    encoded(GRADIENT, "PNG"),
    encoded(DEEP, "PNG"),
    encoded(Image.fromarray(GRADIENT).convert("RGBA"), "PNG"),
    encoded(Image.fromarray(GRADIENT).convert("P"), "PNG"),
    encoded(GRADIENT, "JPEG"),
    encoded(Image.fromarray(GRADIENT).convert("RGB"), "JPEG", progressive=True),
    encoded(GRADIENT, "TIFF"),
    encoded(DEEP, "TIFF", compression="tiff_deflate"),
]


@st.composite
def mutated(draw: Callable[..., object]) -> bytes:
    data = bytearray(draw(st.sampled_from(SAMPLES)))  # type: ignore[arg-type]
    for _ in range(draw(st.integers(0, 6))):  # type: ignore[call-overload]
        at = draw(st.integers(0, len(data) - 1))
        data[at] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])  # type: ignore[misc]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=mutated())
def test_nothing_but_the_refusal_leaves_the_decoder(data: bytes) -> None:
    try:
        pixels = read_image(data, limits=Limits(pixels=200_000)).pixels
    except UnreadableImageError:
        return
    assert pixels.ndim == 2
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.size <= 200_000


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0"]))
def test_noise_is_refused(data: bytes, start: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        read_image(start + data)


# The real thing


# Files that Pillow does not write


def png(width: int, height: int, bits: int, colour: int, rows: bytes, interlaced: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


def interlaced_png(pixels: np.ndarray) -> bytes:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx])
    return png(pixels.shape[1], pixels.shape[0], 8, 0, rows, interlaced=1)


def tiff(strip: bytes, shape: tuple[int, int], bits: int, photometric: int = 1, order: str = "<") -> bytes:
    height, width = shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (277, 1), (278, height)]
    tags = sorted([*tags, (279, len(strip)), (273, 8 + 2 + 12 * 9 + 4)])
    short = {258, 259, 262, 277}
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, 3 if tag in short else 4, 1)
        + (struct.pack(f"{order}HH", value, 0) if tag in short else struct.pack(f"{order}I", value))
        for tag, value in tags
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4) + strip
