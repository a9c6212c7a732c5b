"""The one unpickler: plain data comes through, nothing else is touched."""

import argparse
import io
import os
import pickle

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.interop import restricted_pickle


def load(data, **kwargs):
    return restricted_pickle.load(io.BytesIO(data), path="faces.bin", **kwargs)


def refusal(data, **kwargs):
    with pytest.raises(UserError) as error:
        load(data, **kwargs)
    message = str(error.value)
    assert message.startswith("faces.bin: ") and "\n" not in message
    return message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_through(protocol):
    value = ([b"\xff\xd8jpeg", b""], [True, False], {"a": (1, -2.5, None)}, "text", 10**30)
    assert load(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([True, False]),
        np.array([1, 2], ">i4"),
        np.array(1 + 2j),
        np.zeros((0, 2), np.float16),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_come_through(array, protocol):
    data = pickle.dumps([array], protocol)
    again, want = load(data)[0], pickle.loads(data)[0]
    np.testing.assert_array_equal(again, want)
    assert again.dtype == want.dtype and again.shape == want.shape


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_scalars_come_through(protocol):
    issame = load(pickle.dumps([np.bool_(True), np.float32(0.5)], protocol))
    assert issame == [True, 0.5] and isinstance(issame[1], np.float32)


def test_a_text_with_an_unknown_escape_warns_of_nothing():
    assert load(b"S'\\q'\n.") == b"\\q"  # found by damaging files at random


def test_numpy_1_and_python_2_names():
    array = pickle.dumps(np.arange(3, dtype=np.uint8), 2)
    assert load(array.replace(b"numpy._core", b"numpy.core")).tolist() == [0, 1, 2]
    # A list of two Python 2 strings.
    assert load(b"\x80\x02]q\x00(U\x03\xff\xd8\x00U\x00e.") == [b"\xff\xd8\x00", b""]


def test_leaves_the_file_behind_the_pickle():
    file = io.BytesIO(pickle.dumps([1], 2) + b"rest")
    restricted_pickle.load(file, path="faces.bin")
    assert file.read() == b"rest"


class Runs:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "system"), (eval, "eval"), (getattr, "getattr")]
)
def test_nothing_runs(function, name, protocol, tmp_path):
    marker = tmp_path / "marker"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    message = refusal(pickle.dumps([b"face", Runs(function, command)], protocol))
    assert f"{name}'" in message and "nothing was run" in message
    assert not marker.exists()


def test_nothing_runs_by_the_older_instructions(tmp_path):
    marker = tmp_path / "marker"
    call = f"(S'touch {marker}'\nios\nsystem\n.".encode()
    assert "'os.system'" in refusal(call)
    assert not marker.exists()


def test_objects_are_refused():
    assert "PosixPath" in refusal(pickle.dumps(__import__("pathlib").PosixPath("a")))
    message = refusal(pickle.dumps(np.array([{}], object)))
    assert "damaged (an array of type 'O" in message


STATE_FOR_A_FUNCTION = b"\x80\x02c_codecs\nencode\n}U\x04nameU\x01xsb."
PERSISTENT_ID = b"\x80\x02U\x01aQ."
# numpy.dtype('f8') whose state claims another kind of contents, around the pointer 0x41.
STATE_OF_A_TYPE = b"\x80\x02cnumpy\ndtype\nU\x02f8\x85R(K\x03U\x01|NNNK\x08K\x01K\x3ftb."


def test_our_own_functions_cannot_be_changed():
    assert "state for a function" in refusal(STATE_FOR_A_FUNCTION)
    assert "persistent id" in refusal(PERSISTENT_ID)
    loaded = load(STATE_OF_A_TYPE)
    assert loaded.dtype == np.float64 and loaded.dtype.flags == np.dtype("f8").flags


def hand_written(code: str) -> bytes:
    """A pickle from words: A makes an array, T dtype('u1'), the rest is pickle's own bytes."""
    words = {
        "A": b"cnumpy._core.multiarray\n_reconstruct\n(tR",
        "T": b"cnumpy\ndtype\n(X\x02\0\0\0u1tR",
        "F": b"cnumpy._core.numeric\n_frombuffer\n",
        "C": b"X\x01\0\0\0C",
        "DATA": b"B\x04\0\0\0face",
    }
    return b"\x80\x04" + b"".join(words.get(w, w.encode("latin1")) for w in code.split())


FILL = "(K\x01 (K\x04t T \x89 DATA t b"


def test_no_array_looks_at_memory_that_is_given_back():
    assert load(hand_written(f"A {FILL} .")).tobytes() == b"face"
    assert "filled twice" in refusal(hand_written(f"A {FILL} {FILL} ."))
    view = "F ( A " + FILL + " T (K\x04t C tR"
    assert "an array in a _Array" in refusal(hand_written(f"{view} ."))
    filled = "F ( DATA T (K\x04t C tR"
    assert load(hand_written(f"{filled} .")).tobytes() == b"face"
    assert "filled twice" in refusal(hand_written(f"{filled} {FILL} ."))


def test_takes_no_memory_for_nothing():
    # A memo that is numbered from the top, and lengths that the file does not have.
    assert load(b"\x80\x02]r\xff\xff\xff\xff.") == []
    assert load(b"]p99999999999\n.") == []
    for bytes_of_length in (b"\x8e", b"\x96"):
        refusal(b"\x80\x05" + bytes_of_length + (2**50).to_bytes(8, "little") + b"face")


def test_functions_are_given_no_more_than_the_file_holds():
    # One text of 100,000 letters, a thousand times by its number in the memo.
    text = b"X" + (100_000).to_bytes(4, "little") + b"a" * 100_000 + b"q\x01"
    function = b"c_codecs\nencode\nq\x02X\x06\0\0\0latin1q\x03"
    call = b"h\x02h\x01h\x03\x86R"
    one = b"\x80\x02](" + text + function + call + b"e."
    assert load(one)[-1] == b"a" * 100_000
    many = b"\x80\x02](" + text + function + call * 1000 + b"e."
    assert "given more than it holds" in refusal(many)
    array = pickle.dumps(np.zeros(100_000, ">f4"), 4)  # whose bytes are turned, and so copied
    assert load(array).shape == (100_000,)


def nested(levels: int) -> bytes:
    """A tuple of 2**levels items in as many bytes as levels."""
    return b"K\x01" + b"2\x86" * levels


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04}" + nested(40) + b"Ns.",
        b"\x80\x04}(" + nested(40) + b"Nu.",
        b"\x80\x04(" + nested(40) + b"Nd.",
        b"\x80\x04\x8f(" + nested(40) + b"\x90.",
        b"\x80\x04(" + nested(40) + b"\x91.",
        b"\x80\x04}(K\x01" + b"\x85" * 200_000 + b"Nu.",  # deep: to hash it ends the process
        b"\x80\x04}(" + pickle.dumps(2**100_000, 2)[2:-1] + b"Nu.",
    ],
)
def test_a_key_is_measured_before_it_is_hashed(data):
    assert "a key of more than 100 parts" in refusal(data)


def test_keys_of_optimizers_and_trainers_come_through():
    value = {0: 1, "a": 2, ("layer1", (3, 3)): 3, frozenset({1, 2}): {4, (5, 6)}, None: 2.5}
    assert load(pickle.dumps(value, 4)) == value


def test_messages_do_not_grow_with_what_they_show():
    dtype = b"\x80\x04cnumpy\ndtype\n" + nested(40) + b"\x85R."
    encoding = b"\x80\x04c_codecs\nencode\nU\x00" + nested(40) + b"\x86R."
    name = b"\x80\x04cos\n" + b"system" * 10_000 + b"\n."
    for data in (dtype, encoding, name, pickle.dumps("a")[:-4] + b"\xff" * 9999 + b"."):
        assert len(refusal(data)) < 500


def test_allows_what_the_caller_names():
    data = b"\x80\x02cpkg\nPair\nK\x01K\x02\x86R."
    assert "'pkg.Pair'" in refusal(data)
    assert load(data, allowed={"pkg.Pair": lambda a, b: (a, b)}) == (1, 2)


class Bag(dict):
    """A class with everything an object may have: arguments, items, attributes."""

    def __getnewargs__(self):
        return (1, 2)


class Row(list):
    pass


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_placeholders_stand_for_objects_and_keep_nothing(protocol):
    bag, row = Bag(a=1), Row([1, 2])
    bag.attribute = row.attribute = b"face"
    value = [Bag, bag, bag, row, argparse.Namespace(lr=0.1), {Bag: 3}]
    data = pickle.dumps(value, protocol)
    assert "Bag'" in refusal(data)
    kind, one, again, other, namespace, keyed = load(data, placeholders=True)
    assert one is again and type(one) is kind and keyed == {kind: 3}
    assert kind.named == f"{__name__}.Bag" and namespace.named == "argparse.Namespace"
    for thing in (one, other, namespace):
        assert isinstance(thing, restricted_pickle.Placeholder)
        assert not hasattr(thing, "__dict__") and not hasattr(thing, "attribute")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval])
def test_placeholders_are_never_called(function, protocol, tmp_path):
    marker = tmp_path / "marker"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    message = refusal(pickle.dumps([Runs(function, command)], protocol), placeholders=True)
    assert f"{function.__name__}'" in message and "nothing was run" in message
    call = f"(S'touch {marker}'\nios\nsystem\n.".encode()
    assert "'os.system'" in refusal(call, placeholders=True)
    # What makes an object makes an empty one, of whatever it is asked for.
    new = b"\x80\x02cos\nsystem\n(U\x05touchtq\x00\x81}U\x01aK\x01sb."
    assert load(new, placeholders=True).named == "os.system"
    assert not marker.exists()


@pytest.mark.parametrize("change", [b"}b.", b"(K\x01e.", b"(K\x01K\x02u."])
def test_the_class_of_placeholders_cannot_be_changed(change):
    assert "damaged" in refusal(b"\x80\x02cpkg\nPair\n" + change, placeholders=True)


def test_damage_is_one_line():
    whole = pickle.dumps(([b"face" * 5, np.arange(4)], [True]), 4)
    for length in range(len(whole)):
        refusal(whole[:length])


@pytest.mark.parametrize("call", [b"cnumpy\ndtype\n(", b"c_codecs\nencode\n(X\1\0\0\0a"])
def test_a_nested_argument_is_told_by_its_beginning(call):
    """Lists that hold a list twice, 60 levels deep: as text they would not fit into any memory."""
    nested = []
    for _ in range(60):
        nested = [nested, nested]
    assert "[[...], [...]]" in refusal(call + pickle.dumps(nested, 2)[2:-1] + b"tR.")
