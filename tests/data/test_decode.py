"""Decoding: RGB of the wanted size from every kind of file, and no half images."""

import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddl_jax.data.decode import decode_image, fit, is_turned
from ddl_jax.errors import UserError

from .image_files import encode, pixels, with_orientation


@pytest.mark.parametrize("shape", [(24, 20, 3), (1, 1, 3), (7, 13, 3)])
def test_png_comes_back_as_it_was_in_rgb_order(shape):
    image = pixels("png", shape)
    decoded = decode_image(encode(image), "a.png")
    np.testing.assert_array_equal(decoded, image)
    assert decoded.dtype == np.uint8


def test_jpeg_comes_back_in_rgb_order():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    decoded = decode_image(encode(red, ".jpg"), "a.jpg")
    assert np.abs(decoded.astype(int) - red).max() <= 8  # what JPEG itself changes


@pytest.mark.parametrize("suffix", [".png", ".pgm"])
def test_grey_gets_three_equal_channels(suffix):
    image = pixels("grey", (9, 11))
    decoded = decode_image(encode(image, suffix), "grey")
    np.testing.assert_array_equal(decoded, np.stack([image] * 3, axis=-1))


@pytest.mark.parametrize(
    "suffix, shape", [(".png", (9, 11)), (".png", (9, 11, 3)), (".pgm", (9, 11))]
)
def test_sixteen_bits_become_eight(suffix, shape):
    image = pixels("deep", shape, np.uint16)
    decoded = decode_image(encode(image, suffix), "deep")
    expected = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    # The upper byte, or the nearest grey level: decoders differ.
    assert np.abs(decoded - expected / 257.0).max() <= 1


def test_the_alpha_channel_is_dropped():
    image = np.dstack([pixels("clear"), pixels("alpha", (24, 20))])
    encoded = cv2.imencode(".png", image)[1].tobytes()
    np.testing.assert_array_equal(decode_image(encoded, "a.png"), image[..., 2::-1])


def _huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


UNREADABLE = {
    "empty": b"",
    "text": b"this is no image",
    "random": np.random.default_rng(0).bytes(3000),
} | {
    f"{suffix} without its last {lost}": encode(pixels("cut", (24, 20)), suffix)[:-lost]
    for suffix in (".jpg", ".png", ".pgm")
    for lost in (1, 16, 100)
}


def _huge_jpeg(width: int, height: int) -> bytes:
    """A small JPEG that says it is a large one, behind a preview's segment that says otherwise."""
    encoded = encode(pixels("bomb", (16, 16)), ".jpg")
    size = encoded.index(b"\xff\xc0") + 5
    told = struct.pack(">HH", height, width)
    preview = b"\xff\xe1" + struct.pack(">H", 2 + 9) + encoded[size - 5 : size + 4]
    return encoded[:2] + preview + encoded[2:size] + told + encoded[size + 4 :]


@pytest.mark.parametrize("bomb", [_huge_png, _huge_jpeg])
def test_a_few_bytes_that_announce_gigabytes_are_not_decoded(bomb, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"^a\.x announces 20000x15000 pixels; .*skip$"):
        decode_image(bomb(20_000, 15_000), "a.x")


def _webp(width: int, height: int) -> bytes:
    """A lossless WebP of one grey, by hand: codes of one symbol take no bits for any pixel."""
    bits = f"{width - 1:014b}"[::-1] + f"{height - 1:014b}"[::-1] + "0" + "000"  # no alpha, version
    bits += "000"  # no transform, no cache of colours, one set of codes
    for symbol in (90, 90, 90, 255):  # green, red, blue, alpha
        bits += "101" + f"{symbol:08b}"[::-1]
    bits += "1000"  # distances
    stream = b"\x2f" + int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")
    stream += b"\0" * (len(stream) % 2)
    chunk = b"WEBPVP8L" + struct.pack("<I", len(stream)) + stream
    return b"RIFF" + struct.pack("<I", len(chunk)) + chunk


def test_a_bomb_in_a_format_whose_size_only_opencv_reads_is_not_decoded():
    """In a process of its own, in which another module of ours is the first to import OpenCV."""
    np.testing.assert_array_equal(decode_image(_webp(9, 5), "a"), np.full((5, 9, 3), 90))
    assert len(_webp(16_000, 16_000)) < 50
    program = (
        "import ddl_jax.data.augment\nfrom ddl_jax.data.decode import decode_image\n"
        f"decode_image({_webp(1600, 800)!r}, 'large')\n"
        f"decode_image({_webp(16_000, 16_000)!r}, 'bomb')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    told = ran.stderr.rstrip().splitlines()[-1]
    assert "bomb is not a readable image, or of more than 134 million pixels" in told


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_damage_anywhere_is_told_in_one_line_or_decoded(data):
    whole = _WHOLE[data.draw(st.sampled_from(sorted(_WHOLE)))]
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 8)))
    try:
        image = decode_image(whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:], "a.x")
    except UserError as error:
        assert str(error).startswith("a.x ") and "\n" not in str(error)
    else:
        assert image.dtype == np.uint8 and image.shape[2] == 3


_WHOLE = {
    suffix: encode(pixels("fuzz", (9, 8)), suffix)
    for suffix in (".jpg", ".png", ".pgm", ".bmp", ".webp")
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_to_its_end_is_refused_by_name(name):
    with pytest.raises(UserError, match=r"^a/b\.x is not a readable image.*; .*$"):
        decode_image(UNREADABLE[name], "a/b.x")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_images_are_refused_even_where_opencv_fills_the_rest(suffix, monkeypatch):
    # OpenCV 4 does so with JPEG, OpenCV 5 does not; both are allowed here.
    encoded = encode(pixels("cut"), suffix)
    filled = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: filled)
    decode_image(encoded, "whole")
    with pytest.raises(UserError, match="cut is not a readable image"):
        decode_image(encoded[:-20], "cut")


@pytest.mark.parametrize("length", [100, 5000])
def test_a_jpeg_with_bytes_after_its_end_is_read(length):
    encoded = encode(pixels("padded"), ".jpg")
    padded = decode_image(encoded + b"\0" * length, "a.jpg")
    np.testing.assert_array_equal(padded, decode_image(encoded, "a.jpg"))


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(monkeypatch):
    encoded, thumbnail = encode(pixels("large"), ".jpg"), encode(pixels("small", (4, 4, 3)), ".jpg")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with_thumbnail = encoded[:2] + segment + encoded[2:]
    filled = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: filled)
    decode_image(with_thumbnail, "whole")
    with pytest.raises(UserError, match="cut is not a readable image"):
        decode_image(with_thumbnail[:-20], "cut")


@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("white", [1, 100, 200, 255, 4095, 65535])
def test_white_is_white_whatever_a_pgm_or_ppm_calls_it(kind, white):
    levels = np.linspace(0, white, 5).round().astype(int)
    pixels = np.repeat(levels, 3) if kind in ("P3", "P6") else levels
    header = f"{kind}\n# made by hand\n5 1\n{white}\n".encode()
    if kind in ("P2", "P3"):
        body = " ".join(map(str, pixels)).encode() + b"\n"
    else:
        body = pixels.astype(">u2" if white > 255 else "u1").tobytes()
    decoded = decode_image(header + body, "a.pgm")
    np.testing.assert_allclose(decoded[0, :, 0], levels / white * 255, atol=1)


def test_a_jpeg_may_fill_up_before_its_markers():
    encoded = encode(pixels("filled"), ".jpg")
    place = encoded.index(b"\xff\xdb")
    filled = encoded[:place] + b"\xff\xff" + encoded[place:]
    np.testing.assert_array_equal(decode_image(filled, "a.jpg"), decode_image(encoded, "a.jpg"))


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".tiff", ".webp"])
def test_other_formats_are_read_too(suffix):
    smooth = cv2.GaussianBlur(pixels("smooth"), (0, 0), 4)
    decoded = decode_image(encode(smooth, suffix), "a")
    assert np.abs(decoded.astype(int) - smooth).mean() < 2  # what lossy WebP changes


# What brings the stored picture upright, by the tag's definition: 6 is held turned to the left.
UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photos_are_turned_upright_as_their_cameras_say(orientation):
    """As cv2.imread does; landmarks of another tool have to be of the upright photo."""
    stored = encode(pixels("held", (48, 32, 3)), ".jpg")
    upright = decode_image(with_orientation(stored, orientation), "a.jpg")
    np.testing.assert_array_equal(upright, UPRIGHT[orientation](decode_image(stored, "a.jpg")))
    assert upright.shape == ((32, 48, 3) if orientation > 4 else (48, 32, 3))
    for order in "<>":
        assert is_turned(with_orientation(stored, orientation, order)) == (orientation > 1)


def test_what_has_no_tag_or_a_cut_one_is_not_turned():
    stored = encode(pixels("held", (48, 32, 3)), ".jpg")
    tagged = with_orientation(stored, 6)
    assert not any(
        map(is_turned, (stored, b"", encode(pixels("held")), with_orientation(stored, 9)))
    )
    for length in range(len(tagged) - len(stored) - 10):
        assert not is_turned(tagged[:length])


@pytest.mark.parametrize(
    "shape", [(24, 20, 3), (5, 40, 3), (40, 5, 3), (200, 301, 3), (112, 96, 3)]
)
@pytest.mark.parametrize("size", [(32, 32), (112, 96)])
def test_an_image_gets_the_size_asked_for(shape, size):
    image = decode_image(encode(pixels("sized", shape)), "a.png", size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_an_image_of_the_right_size_is_not_touched():
    image = pixels("right")
    np.testing.assert_array_equal(fit(image, image.shape[:2]), image)


def test_the_middle_is_cut_out_where_the_shape_differs():
    image = pixels("wide", (10, 30, 3))
    np.testing.assert_array_equal(fit(image, (10, 10)), image[:, 10:20])
    image = pixels("high", (31, 10, 3))
    np.testing.assert_array_equal(fit(image, (10, 10)), image[10:20])


@pytest.mark.parametrize("shape, size", [((60, 120), (30, 30)), ((30, 20), (60, 36))])
def test_a_disc_stays_a_disc(shape, size):
    picture = np.zeros((*shape, 3), np.uint8)
    cv2.circle(picture, (shape[1] // 2, shape[0] // 2), 8, (255, 255, 255), -1)
    rows, columns = np.nonzero(fit(picture, size)[..., 0] > 127)
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
    # It is as much bigger as the image, and still in the middle.
    factor = max(size[0] / shape[0], size[1] / shape[1])
    assert abs(np.ptp(rows) + 1 - 17 * factor) <= 2
    assert abs(rows.mean() - size[0] / 2) <= 1 and abs(columns.mean() - size[1] / 2) <= 1
