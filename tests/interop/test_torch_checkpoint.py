"""The checkpoint reader: both formats, and files that are damaged or want to run something."""

import argparse
import os
import pickle
import tracemalloc
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from lightning_file import write_lightning

from ddl_jax.errors import UserError
from ddl_jax.interop import read_torch_checkpoint, write_torch_checkpoint
from ddl_jax.interop.torch_checkpoint import read_hashed_checkpoint

ARRAYS = {
    "weight": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "half": np.array([0.5, -2], np.float16),
    "brain": np.array([0.5, -2], jnp.bfloat16),
    "count": np.array(7, np.int64),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
}


def entries_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write_zip(path, entries, prefix="archive"):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"{prefix}/{name}", data)


def write_stream(path, arrays):
    """The format of torch before 1.6, around the pickle that our zip writer makes."""
    write_torch_checkpoint(path, arrays)
    contents = entries_of(path)["data.pkl"]
    keys = [str(n) for n in range(len(arrays))]
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    with open(path, "wb") as file:
        file.write(pickle.dumps(0x1950A86A20F9469CFC6C, 2))
        file.write(pickle.dumps(1001, 2) + pickle.dumps(facts, 2) + contents)
        file.write(pickle.dumps(keys, 2))
        for array in arrays.values():
            file.write(array.size.to_bytes(8, "little") + array.tobytes())


def refusal(path):
    with pytest.raises(UserError) as error:
        read_torch_checkpoint(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.mark.parametrize("write", [write_torch_checkpoint, write_stream])
def test_reads_what_was_written(write, tmp_path):
    path = tmp_path / "weights.pt"
    write(path, ARRAYS)
    arrays = read_torch_checkpoint(path)
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape


def test_equal_weights_are_equal_files(tmp_path):
    for name in ("a.pt", "b.pt"):
        write_torch_checkpoint(tmp_path / name, ARRAYS)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_torch_reads_what_we_write_and_we_what_it_does(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    write_torch_checkpoint(path, ARRAYS)
    loaded = torch.load(path, weights_only=True)
    np.testing.assert_array_equal(loaded["weight"].numpy(), ARRAYS["weight"])
    for zipped in (True, False):
        state = {"transposed": loaded["weight"].T, "slice": loaded["weight"][1:3, ::2]}
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        arrays = read_torch_checkpoint(path)
        for name, tensor in state.items():
            np.testing.assert_array_equal(arrays[name], tensor.numpy())


def tensor_pickle(offset, shape, strides, *, count=6, name=b"weight", kind=b"FloatStorage"):
    """A state dict of one tensor over storage "0", by hand."""

    def plain(value):
        return pickle.dumps(value, 2)[2:-1]

    return b"".join(
        [
            b"\x80\x02}(" + plain(name.decode()),
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            b"(" + plain("storage") + b"ctorch\n" + kind + b"\n" + plain("0") + plain("cpu"),
            plain(count) + b"tQ" + plain(offset) + plain(shape) + plain(strides) + plain(False),
            b"ccollections\nOrderedDict\n)R" + b"tR" + b"u.",
        ]
    )


SIX = np.arange(6, dtype=np.float32).tobytes()


def write_tensor(path, *args, data=SIX, **kwargs):
    write_zip(path, {"data.pkl": tensor_pickle(*args, **kwargs), "data/0": data})


def test_follows_offsets_and_strides(tmp_path):
    path = tmp_path / "weights.pt"
    write_tensor(path, 1, (2, 2), (1, 3))
    np.testing.assert_array_equal(read_torch_checkpoint(path)["weight"], [[1, 4], [2, 5]])


def test_drops_the_wrappings(tmp_path):
    path = tmp_path / "weights.pt"
    inner = tensor_pickle(0, (6,), (1,), name=b"module.fc.weight")[2:-1]
    outer = b"\x80\x02}(" + pickle.dumps("state_dict", 2)[2:-1] + inner
    epoch = pickle.dumps("epoch", 2)[2:-1] + pickle.dumps(3, 2)[2:-1]
    write_zip(path, {"data.pkl": outer + epoch + b"u.", "data/0": bytes(24)})
    assert list(read_torch_checkpoint(path)) == ["fc.weight"]


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 2), (5, 1)),
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (0, (10**12,), (0,)),
        (0, (-1, -6), (1, 1)),
        (0, (1,), (2**70,)),
        (0, (0, 2**70), (1, 1)),
        (0, (1,) * 70, (1,) * 70),
    ],
)
def test_no_tensor_reaches_outside_its_storage(offset, shape, strides, tmp_path):
    path = tmp_path / "weights.pt"
    write_tensor(path, offset, shape, strides)
    assert "reaches outside its storage" in refusal(path)


def test_a_storage_has_one_length(tmp_path):
    path = tmp_path / "weights.pt"
    short = tensor_pickle(0, (6,), (1,), name=b"short")
    both = short[:-2] + tensor_pickle(0, (9000,), (1,), name=b"long", count=9000)[4:]
    write_zip(path, {"data.pkl": both, "data/0": SIX, "data/filler": bytes(40_000)})
    assert "data/0 has 24 bytes, expected 36000" in refusal(path)


def test_storages_are_as_long_as_they_say(tmp_path):
    path = tmp_path / "weights.pt"
    write_tensor(path, 0, (6,), (1,), data=bytes(20))
    assert "data/0 has 20 bytes, expected 24" in refusal(path)
    write_tensor(path, 0, (6,), (1,), count=10**12)
    assert "truncated" in refusal(path)
    write_zip(path, {"data.pkl": tensor_pickle(0, (6,), (1,))})
    assert "damaged" in refusal(path)
    write_tensor(path, 0, (6,), (1,), kind=b"QuantizedStorage")
    assert "torch.QuantizedStorage" in refusal(path)


# The tuple (1, 1), the tuple of two of it, and so on: 2**40 numbers to who prints or hashes it.
NESTED = b"K\x01" + b"2\x86" * 40


@pytest.mark.parametrize(
    "contents",
    [
        NESTED + b"Q",
        b"}" + NESTED + b"Ns",
        b"}U\x0astate_dict}" + NESTED + b"Nss",
        b"ccollections\nOrderedDict\n]]" + NESTED + b"aNaa\x85R",
        b"cpkg\nName\x1b[31m" + b"x" * 5000 + b"\n)\x81",
        b"}U\x09\x1b[31m\nfoo" + b"Ns",
        b"}(X" + (5000).to_bytes(4, "little") + b"n" * 5000 + b"Nu",
    ],
)
def test_what_a_message_shows_is_short_and_one_line(contents, tmp_path):
    path = tmp_path / "weights.pt"
    write_zip(path, {"data.pkl": b"\x80\x02" + contents + b"."})
    message = refusal(path)
    assert message.isprintable() and len(message) < len(str(path)) + 400


def test_numbers_too_long_to_print_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    write_tensor(path, 10**6000, (6,), (1,))
    assert "reaches outside its storage" in refusal(path)
    write_tensor(path, 0, (6,), (1,), count=10**6000)
    assert "truncated" in refusal(path)


def peak_of(call, *args):
    """The most memory, in bytes, that a call took at a time."""
    tracemalloc.start()
    try:
        call(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("entry", ["data.pkl", "byteorder", "data/0"])
def test_nothing_compressed_is_unpacked(entry, tmp_path):
    path = tmp_path / "weights.pt"
    entries = {"data.pkl": tensor_pickle(0, (6,), (1,)), "byteorder": b"little", "data/0": SIX}
    entries[entry] += bytes(50_000_000)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            kind = zipfile.ZIP_DEFLATED if name == entry else zipfile.ZIP_STORED
            archive.writestr(f"archive/{name}", data, kind)
    assert path.stat().st_size < 100_000
    assert peak_of(refusal, path) < 5_000_000
    assert f"{entry} is compressed or cut: save it again with torch.save" in refusal(path)


def test_a_shared_storage_is_there_once(tmp_path):
    path, numbers = tmp_path / "weights.pt", np.arange(250_000, dtype=np.float32)
    one = [tensor_pickle(0, (250_000,), (1,), count=250_000, name=b"n%d" % n) for n in range(200)]
    # One "PROTO } (" before all items, one "u." behind them.
    together = one[0][:4] + b"".join(data[4:-2] for data in one) + b"u."
    write_zip(path, {"data.pkl": together, "data/0": numbers.tobytes()})
    assert peak_of(read_torch_checkpoint, path) < 10 * numbers.nbytes
    arrays = read_torch_checkpoint(path)
    assert len(arrays) == 200
    np.testing.assert_array_equal(arrays["n199"], numbers)


def test_one_storage_is_not_read_in_every_type(tmp_path):
    path = tmp_path / "weights.pt"
    kinds = [b"FloatStorage", b"IntStorage"]
    one = [tensor_pickle(0, (1000,), (1,), count=1000, name=k, kind=k) for k in kinds]
    write_zip(path, {"data.pkl": one[0][:-2] + one[1][4:], "data/0": bytes(4000)})
    assert "storage '0' is not in it" in refusal(path)


class Runs:
    """Pickles to a call of `function`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["zip", "stream"])
@pytest.mark.parametrize("function", [os.system, eval])
def test_runs_nothing(place, function, tmp_path):
    path, marker = tmp_path / "weights.pt", tmp_path / "marker"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    payload = pickle.dumps({"state_dict": {"weight": Runs(function, command)}}, 2)
    if place == "zip":
        write_zip(path, {"data.pkl": payload})
    else:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + payload)
    message = refusal(path)
    assert ("system" if function is os.system else "eval") in message
    assert not marker.exists()


def test_other_files_are_told_apart(tmp_path):
    path = tmp_path / "weights.pt"
    assert "no such file" in refusal(path)
    path.write_bytes(b"<html>not found</html>")
    assert "not a PyTorch checkpoint: save it again with torch.save" in refusal(path)
    path.write_bytes(b"")
    assert "not a PyTorch checkpoint" in refusal(path)
    write_zip(path, {"data.pkl": b"", "constants.pkl": b""})
    assert "a zip file, but no checkpoint" in refusal(path)
    write_zip(path, {"data.pkl": pickle.dumps([1, 2], 2)})
    assert "holds no state dict" in refusal(path)
    write_zip(path, {"data.pkl": pickle.dumps({"epoch": 3}, 2)})
    assert "'epoch' is not a tensor" in refusal(path)
    write_zip(path, {"data.pkl": b"", "byteorder": b"big"})
    assert "big-endian" in refusal(path)


@pytest.mark.parametrize("write", [write_torch_checkpoint, write_stream])
def test_truncated_files_are_refused_in_one_line(write, tmp_path):
    path = tmp_path / "weights.pt"
    write(path, ARRAYS)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize("write", [write_torch_checkpoint, write_stream])
def test_a_wrong_byte_is_a_refusal_or_harmless(write, tmp_path):
    path = tmp_path / "weights.pt"
    write(path, ARRAYS)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole), 300):
        damaged = bytearray(whole)
        damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_torch_checkpoint(path)
        except UserError as error:
            assert "\n" not in str(error)


def test_torch_has_no_strings(tmp_path):
    with pytest.raises(UserError, match="name: torch has no tensors of type"):
        write_torch_checkpoint(tmp_path / "weights.pt", {"name": np.array(["a"])})


def test_the_whole_file_of_a_lightning_trainer(tmp_path):
    path = tmp_path / "module.ckpt"
    state = {"model.fc.weight": ARRAYS["weight"], "head.t": np.zeros(1, np.float32)}
    state |= {"model.bn.num_batches_tracked": ARRAYS["count"]}
    write_lightning(path, state)
    arrays = read_torch_checkpoint(path)
    assert list(arrays) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape


@pytest.mark.parametrize("function", [os.system, eval])
def test_code_beside_the_state_dict_is_refused_by_its_name(function, tmp_path):
    path, marker = tmp_path / "module.ckpt", tmp_path / "marker"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    write_lightning(
        path, {"model.weight": ARRAYS["weight"]}, loops={"state": Runs(function, command)}
    )
    message = refusal(path)
    assert f"{function.__name__}'" in message and "nothing was run" in message
    assert not marker.exists()


def test_a_whole_module_is_told_from_its_state_dict(tmp_path):
    path = tmp_path / "module.pt"
    write_zip(path, {"data.pkl": pickle.dumps(argparse.Namespace(fc=1), 2)})
    assert "holds argparse.Namespace, no state dict: save it again" in refusal(path)
    write_zip(path, {"data.pkl": b"\x80\x02cpkg\nA\rB\x1b\n)\x81."})
    assert r"holds pkg.A\rB\x1b, no state dict" in refusal(path)
    write_zip(path, {"data.pkl": pickle.dumps({"fc": argparse.Namespace()}, 2)})
    assert "'fc' is not a tensor" in refusal(path)


def test_the_backbone_in_a_checkpoint_of_arcface_torch(tmp_path):
    path = tmp_path / "checkpoint_gpu_0.pt"
    write_torch_checkpoint(path, ARRAYS)
    entries = entries_of(path)
    epoch, three, backbone, head = (
        pickle.dumps(value, 2)[2:-1]
        for value in ("epoch", 3, "state_dict_backbone", "state_dict_softmax_fc")
    )
    tensors = entries["data.pkl"][2:-1]
    entries["data.pkl"] = b"".join(
        [pickle.PROTO + b"\x02" + pickle.EMPTY_DICT, epoch, three, pickle.SETITEM]
        + [backbone, tensors, pickle.SETITEM, head, tensors, pickle.SETITEM, pickle.STOP]
    )
    write_zip(path, entries)
    found = read_hashed_checkpoint(path)
    assert set(found.arrays) == set(ARRAYS)
    # The head's tensors are told, and not read.
    assert found.beside == [f"state_dict_softmax_fc.{name}" for name in ARRAYS]
