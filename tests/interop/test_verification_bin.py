"""Verification sets of insightface: whoever wrote them, and whatever is wrong with them."""

import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddl_jax.errors import UserError
from ddl_jax.interop import read_verification_bin, write_verification_bin

IMAGES = [b"\xff\xd8first\xff\xd9", b"\xff\xd8second\0\xff\xd9", b"\x89PNG", b"\xed#\n"]


def read(tmp_path, content, protocol=4):
    file = tmp_path / "lfw.bin"
    file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return read_verification_bin(file)


def refusal(tmp_path, content):
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    message = str(error.value)
    assert message.startswith(str(tmp_path / "lfw.bin")) and "\n" not in message
    return message


def test_what_is_written_is_read_back_here_and_by_pickle(tmp_path):
    file = tmp_path / "mine set é.bin"
    write_verification_bin(str(file), IMAGES, np.array([True, False]))
    images, issame = read_verification_bin(str(file))
    assert images == IMAGES and issame.dtype == bool and issame.tolist() == [True, False]
    assert pickle.loads(file.read_bytes()) == (IMAGES, [True, False])  # as insightface reads it
    assert os.listdir(tmp_path) == [file.name]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [
        (IMAGES, [True, False]),
        [tuple(IMAGES), [1, 0]],
        (IMAGES, [np.bool_(True), np.False_]),
        (IMAGES, np.array([True, False])),
        ([np.frombuffer(image, np.uint8) for image in IMAGES], [True, False]),
    ],
    ids=["lists", "tuples and ints", "numpy bools", "an array", "images in arrays"],
)
def test_the_ways_in_which_sets_are_written(tmp_path, content, protocol):
    images, issame = read(tmp_path, content, protocol)
    assert images == IMAGES and all(type(image) is bytes for image in images)
    assert issame.tolist() == [True, False]


def test_a_set_of_python_2(tmp_path):
    # By hand, as Python 2's protocol 2 has it: str is SHORT_BINSTRING ('U') or BINSTRING ('T').
    strings = b"".join(b"T" + struct.pack("<i", len(image)) + image for image in IMAGES)
    content = b"\x80\x02](" + strings + b"e](\x88\x89e\x86."
    images, issame = read(tmp_path, content)
    assert images == IMAGES and issame.tolist() == [True, False]


class _Call:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_calls_a_function_is_refused_and_calls_nothing(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps((IMAGES, [True, _Call(tmp_path / "called")]), protocol)
        message = refusal(tmp_path, content)
        assert "mkdir" in message and "nothing was run" in message
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "content, told",
    [
        ({"images": IMAGES}, "holds dict of 1; a verification set is (images, issame)"),
        ((IMAGES, [True], [False]), "holds tuple of 3"),
        (({1: b"x"}, [True]), "its images are dict of 1"),
        ((IMAGES, 7), "its issame is 7"),
        ((IMAGES, [True]), "4 images for 1 pairs"),
        (([], []), "has no pair"),
        ((IMAGES[:3] + ["text"], [True, False]), "image 3 is str of 4; encode it"),
        (
            (IMAGES[:3] + [np.zeros((2, 2, 3), np.uint8)], [True, False]),
            "image 3 is an array uint8",
        ),
        ((IMAGES[:3] + [b""], [True, False]), "image 3 is empty"),
        ((IMAGES, [True, 2]), "issame of pair 1 is 2;"),
        ((IMAGES, [True, float("nan")]), "issame of pair 1 is nan;"),
        ((IMAGES, [True, np.array([1, 0])]), "issame of pair 1 is an array int64[2];"),
        (b"", "is damaged"),
        (b"\xff\xd8\xff\xe0", "is damaged"),
        (pickle.dumps((IMAGES, [True, False]))[:-9], "is damaged"),
        (pickle.dumps((IMAGES, [True, False])) + b"more", "4 bytes follow the pickle's end"),
    ],
)
def test_other_contents_are_refused_in_one_line(tmp_path, content, told):
    assert told in refusal(tmp_path, content)


def test_lists_in_lists_that_double_on_every_level_are_told_at_once(tmp_path):
    """266 bytes took 34 s and 708 MB to be told, twice that with a level more; this took hours."""
    nested = []
    for _ in range(60):
        nested = [nested, nested]
    assert "issame of pair 1 is list of 2; True or False is due" in refusal(
        tmp_path, (IMAGES, [True, nested])
    )
    assert "image 3 is list of 2" in refusal(tmp_path, ([*IMAGES[:3], nested], [True, True]))


def test_a_file_that_is_not_there_or_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"no\.bin: no such file"):
        read_verification_bin(tmp_path / "no.bin")
    with pytest.raises(UserError, match="no directory .*; make it first"):
        write_verification_bin(tmp_path / "no" / "lfw.bin", IMAGES, [True, False])
    with pytest.raises(UserError, match="4 images for 1 pairs"):
        write_verification_bin(tmp_path / "lfw.bin", IMAGES, [True])
    assert not list(tmp_path.iterdir())


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_damage_anywhere_is_told_in_one_line_or_harmless(tmp_path_factory, data):
    """Bytes changed, cut or put in at random: a set, or a UserError; never anything else."""
    whole = pickle.dumps((IMAGES, [np.bool_(True), False]), data.draw(st.sampled_from([0, 2, 4])))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 8)))
    damaged = whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:]
    file = tmp_path_factory.getbasetemp() / "damaged.bin"
    file.write_bytes(damaged)
    try:
        images, issame = read_verification_bin(file)
    except UserError as error:
        assert str(error).startswith(str(file)) and "\n" not in str(error)
    else:
        assert len(images) == 2 * len(issame) and all(type(image) is bytes for image in images)
