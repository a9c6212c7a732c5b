"""TFDS data sets as sources: ours, and those that others wrote."""

import dataclasses
import io
import pathlib
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ddl_jax.data.decode import decode_image
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.prepare import prepare
from ddl_jax.data.tfds_records import quiet_tfds
from ddl_jax.data.tfds_source import open_tfds
from ddl_jax.errors import UserError
from ddl_jax.interop.tfrecord import frame

from .image_files import encode, pixels, write_faces, write_image

IMAGE = tfds.features.Image(shape=(None, None, 3))


@dataclasses.dataclass(kw_only=True)
class _Config(tfds.core.BuilderConfig):
    features: dict
    examples: list


class OthersFaces(tfds.core.GeneratorBasedBuilder):
    """A data set as somebody else may have written it."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = []

    def _info(self):
        features = tfds.features.FeaturesDict(self.builder_config.features)
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": enumerate(self.builder_config.examples)}

    def _generate_examples(self):
        raise NotImplementedError  # the splits hold the examples already


def _write(tmp_path: pathlib.Path, features: dict, examples: list) -> str:
    config = _Config(name="faces", features=features, examples=examples)
    with quiet_tfds():
        builder = OthersFaces(data_dir=tmp_path, config=config, file_format="array_record")
        builder.download_and_prepare()
    return str(builder.data_dir)


def _labelled(labels, **more) -> list[dict]:
    """Examples with these labels; `more` are further columns."""
    columns = [dict(zip(more, values)) for values in zip(*more.values())] or [{}] * len(labels)
    return [
        {"image": io.BytesIO(encode(pixels(str(number)))), "label": label, **column}
        for number, (label, column) in enumerate(zip(labels, columns))
    ]


def test_image_and_label_are_enough(tmp_path):
    features = {"image": IMAGE, "label": np.int64}
    source = open_tfds(_write(tmp_path, features, _labelled([1, 0, 1])), "train")
    assert len(source) == 3
    assert source.index.labels.tolist() == [1, 0, 1]
    assert source.index.identities.tolist() == ["1", "0", "1"]
    assert source.index.paths.tolist() == ["train/0", "train/1", "train/2"]
    assert source.index.domains.tolist() == ["easy"] * 3
    record = source[2]
    np.testing.assert_array_equal(decode_image(record.pop("image"), "x"), pixels("2"))
    assert record == {"label": 1, "identity": "1", "path": "train/2", "domain": "easy"}


def test_class_labels_and_further_features_are_fine(tmp_path):
    names = tfds.features.ClassLabel(names=["ann", "bob"])
    features = {"image": IMAGE, "label": names, "age": np.int64, "domain": tfds.features.Text()}
    examples = _labelled(["bob", "ann"], age=[30, 40], domain=["dark", "easy"])
    source = open_tfds(_write(tmp_path, features, examples), "train")
    assert source.index.labels.tolist() == [1, 0]
    assert source.index.domains.tolist() == ["dark", "easy"]


def test_a_slice_of_a_split_is_a_split(tmp_path):
    features = {"image": IMAGE, "label": np.int64, "path": tfds.features.Text()}
    examples = _labelled([9, 0, 1, 2], path=["a", "b", "c", "d"])
    source = open_tfds(_write(tmp_path, features, examples), "train[1:3]")
    assert source.index.paths.tolist() == ["b", "c"]
    assert source[1]["path"] == "c"


@pytest.mark.parametrize(
    "labels, told",
    [
        ([0, 2], "reach 2 but none is 1"),
        ([0, -1], "train/1 has label -1"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(tmp_path, labels, told):
    directory = _write(tmp_path, {"image": IMAGE, "label": np.int64}, _labelled(labels))
    with pytest.raises(UserError) as caught:
        open_tfds(directory, "train")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_two_images_of_one_path_are_refused(tmp_path):
    features = {"image": IMAGE, "label": np.int64, "path": tfds.features.Text()}
    directory = _write(tmp_path, features, _labelled([0, 1, 1], path=["a", "b", "a"]))
    with pytest.raises(UserError, match="2 images have the path 'a'"):
        open_tfds(directory, "train")


@pytest.mark.parametrize("missing", ["image", "label"])
def test_a_data_set_without_images_or_labels_is_refused(tmp_path, missing):
    features = {"image": IMAGE, "label": np.int64, "age": np.int64}
    examples = _labelled([0, 1], age=[1, 2])
    del features[missing]
    for example in examples:
        del example[missing]
    with pytest.raises(UserError, match=f"has no feature '{missing}'"):
        open_tfds(_write(tmp_path, features, examples), "train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> ImageFolderSource:
    root = write_faces(tmp_path_factory.mktemp("folder"), 11, domains=("frontal", "profile"))
    write_image(root, "11/frontal/grey.pgm", shape=(9, 30))
    write_image(root, "2/profile/photo.jpg", shape=(41, 17, 3))
    write_image(root, "2/profile/deep.png", shape=(12, 12), dtype=np.uint16)
    return ImageFolderSource(str(root), domain_rules=("*/frontal/*=easy", "*=hard"))


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory) -> str:
    return str(prepare(folder, str(tmp_path_factory.mktemp("packed")), "faces"))


def test_a_packed_folder_is_the_folder(folder, packed):
    source = open_tfds(packed, "train")
    assert source.index.fingerprint() == folder.index.fingerprint()  # labels, names and domains
    for number in range(len(folder)):
        assert source[number] == folder[number]  # the bytes of the image, hence its pixels, too


def test_a_packed_folder_travels_to_worker_processes(packed):
    source = open_tfds(packed, "train")
    assert pickle.loads(pickle.dumps(source))[5] == source[5]


def test_a_name_that_is_taken_or_cannot_be_one_is_refused(folder, packed, tmp_path):
    out = str(pathlib.Path(packed).parents[1])
    before = sorted(pathlib.Path(out).rglob("*"))
    for name, told in (("faces", "exists; choose"), ("", "is ''"), ("../faces", "is '../faces'")):
        with pytest.raises(UserError, match=told):
            prepare(folder, out, name)
    assert sorted(pathlib.Path(out).rglob("*")) == before


def test_a_directory_that_cannot_be_written_is_refused(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: "):
        prepare(folder, str(tmp_path / "file"), "faces")


@pytest.mark.parametrize(
    "split", ["test", "", "train[", "train[x]", "train[:0]", "train[5:1000]", "train+train"]
)
def test_a_split_that_is_not_there_is_refused_in_one_line(packed, split):
    with pytest.raises(UserError) as caught:
        open_tfds(packed, split)
    assert repr(split) in str(caught.value) and "\n" not in str(caught.value)


def test_a_directory_without_a_data_set_is_refused(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset_info.json").write_text("{")
    for directory in ("", str(tmp_path), str(tmp_path / "nothing"), str(tmp_path / "broken")):
        with pytest.raises(UserError, match="is no prepared data set") as caught:
            open_tfds(directory, "train")
        assert "\n" not in str(caught.value)


def _as_tfrecord(directory: str, copy: pathlib.Path) -> str:
    """The same data set in TFDS's default file format, which TensorFlow would have written."""
    builder = tfds.builder_from_directory(directory)
    examples = builder.as_data_source(
        "train", deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    copy.mkdir()
    lengths, start = builder.info.splits["train"].shard_lengths, 0
    for shard, length in enumerate(lengths):
        frames = (frame(examples[number]) for number in range(start, start + length))
        name = f"{builder.name}-train.tfrecord-{shard:05d}-of-{len(lengths):05d}"
        (copy / name).write_bytes(b"".join(frames))
        start += length
    for name in ("dataset_info.json", "features.json"):
        text = (pathlib.Path(directory) / name).read_text()
        (copy / name).write_text(text.replace("array_record", "tfrecord"))
    return str(copy)


@pytest.mark.parametrize("split", ["train", "train[2:5]", "train[50%:]"])
def test_the_default_file_format_of_tfds_is_read_too(folder, tmp_path, split):
    ours = str(prepare(folder, str(tmp_path), "faces", images_per_shard=3))
    theirs = _as_tfrecord(ours, tmp_path / "copy")
    wanted, found = open_tfds(ours, split), open_tfds(theirs, split)
    assert len(found) == len(wanted) > 2
    assert found.index.fingerprint() == wanted.index.fingerprint()
    for one in (found, pickle.loads(pickle.dumps(found))):
        assert [record["image"] for record in one] == [record["image"] for record in wanted]


def test_labels_of_the_default_file_format_may_be_names(tmp_path):
    features = {"image": IMAGE, "label": tfds.features.Text()}
    directory = _write(tmp_path, features, _labelled(["Bo", "Ann", "Bo"]))
    source = open_tfds(_as_tfrecord(directory, tmp_path / "copy"), "train")
    assert source.index.identities.tolist() == ["Bo", "Ann", "Bo"]
    assert source.index.paths.tolist() == ["train/0", "train/1", "train/2"]


def test_a_damaged_shard_of_the_default_file_format_is_named(folder, tmp_path):
    ours = str(prepare(folder, str(tmp_path), "faces"))
    theirs = pathlib.Path(_as_tfrecord(ours, tmp_path / "copy"))
    (shard,) = theirs.glob("*.tfrecord-*")
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"tfrecord-00000-of-00001: record at byte 0: its checksum"):
        open_tfds(str(theirs), "train")
    assert len(open_tfds(str(theirs), "train", corrupt="skip")) == len(folder) - 1
    shard.write_bytes(content[:-20])
    with pytest.raises(UserError, match="bytes are not in the file"):
        open_tfds(str(theirs), "train[1:]")


@pytest.mark.parametrize("split", ["train[x]", "train[5:1000]"])
def test_a_slice_of_the_default_file_format_that_is_none_is_one_line(folder, tmp_path, split):
    ours = str(prepare(folder, str(tmp_path), "faces"))
    with pytest.raises(UserError) as caught:
        open_tfds(_as_tfrecord(ours, tmp_path / "copy"), split)
    assert repr(split) in str(caught.value) and "\n" not in str(caught.value)


def test_another_file_format_is_refused_with_those_that_are_read(folder, tmp_path):
    directory = pathlib.Path(prepare(folder, str(tmp_path), "faces"))
    info = directory / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "riegeli"))
    with pytest.raises(UserError, match="format is riegeli; array_record and tfrecord are read$"):
        open_tfds(str(directory), "train")


def test_labels_that_are_names_are_identities(tmp_path):
    # As TFDS's own LFW has them.
    features = {"image": IMAGE, "label": tfds.features.Text()}
    source = open_tfds(_write(tmp_path, features, _labelled(["Bo", "Ann", "Bo"])), "train")
    assert source.index.identities.tolist() == ["Bo", "Ann", "Bo"]
    assert source.index.labels.tolist() == [1, 0, 1]
    assert [record["label"] for record in source] == [1, 0, 1]


def test_a_slice_need_not_hold_all_labels(tmp_path):
    features = {"image": IMAGE, "label": np.int64}
    directory = _write(tmp_path, features, _labelled([0, 1, 2, 3]))
    source = open_tfds(directory, "train[50%:]")
    assert source.index.identities.tolist() == ["2", "3"]
    assert source.index.labels.tolist() == [0, 1]
