"""Who was trained on: names within one place, however its path is written."""

import pytest

from ddl_jax.config import Config, Data, InitFrom, Synthetic, to_json
from ddl_jax.data.source import make_index
from ddl_jax.training import identities
from ddl_jax.training.identities import Known


def index_of(*names):
    return make_index(names, names, ["easy"] * len(names), range(len(names)))


def known(names, **data):
    return Known.of(Data(source="image_folder", **data), Synthetic(), index_of(*names))


@pytest.mark.parametrize("path", ["faces", "faces/", "./faces", "x/../faces", "linked"])
def test_one_folder_under_many_names(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "faces")
    trained = [known("abc", path=str(tmp_path / "faces"))]
    assert identities.seen(trained, known("bcd", path=path)) == 2


def test_names_of_another_folder_are_other_people(tmp_path):
    trained = [known("abc", path=str(tmp_path / "one"))]
    assert identities.seen(trained, known("abc", path=str(tmp_path / "two"))) == 0


def test_synthetic_people_are_those_of_their_seed():
    def rendered(seed, *names):
        return Known.of(Data(path=f"at{names}"), Synthetic(seed=seed), index_of(*names))

    assert identities.seen([rendered(0, "1", "2")], rendered(0, "2", "3")) == 1
    assert identities.seen([rendered(1, "1", "2")], rendered(0, "2", "3")) == 0


def write_run(workdir, names, init_from=""):
    workdir.mkdir()
    data = Data(source="image_folder", path="faces")
    config = Config(data=data, init_from=InitFrom(path=str(init_from)))
    (workdir / "config.json").write_text(to_json(config))
    identities.write(workdir, index_of(*names))


def test_a_run_is_trained_on_what_the_runs_before_it_were(tmp_path):
    write_run(tmp_path / "first", "ab")
    write_run(tmp_path / "second", "cd", tmp_path / "first")
    found = identities.trained_on(tmp_path / "second")
    assert [sorted(one.names) for one in found] == [["c", "d"], ["a", "b"]]
    assert identities.seen(found, known("abcz", path="faces")) == 3
    assert identities.trained_on("") == identities.trained_on(tmp_path / "nothing") == []


def test_line_n_is_class_n(tmp_path):
    identities.write(tmp_path, index_of("s10", "s2", "s1"))
    assert (tmp_path / "identities.txt").read_text() == "s1\ns2\ns10\n"
