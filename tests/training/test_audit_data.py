"""`python -m ddl_jax.data audit`: what is planted is found, written down, and can be left out."""

import pytest

from ddl_jax import command_line
from ddl_jax.config import Data, Synthetic
from ddl_jax.data.__main__ import main
from ddl_jax.data.open_source import open_source

from .looked_at import read_rows, write_people, write_view
from .work_directory import write_work_directory

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _audit(*arguments: str) -> int:
    return command_line.run(main, ["ddl_jax.data", "audit", *arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ten people; 11 is 3 again, an image of 5 lies under 2; in `others` are 7 and strangers."""
    path = tmp_path_factory.mktemp("place")
    write_people(path / "faces", 10, easy=4, hard=0)
    for number in range(3):
        write_view(path / "faces", f"11/again-{number}.png", "3")
    write_view(path / "faces", "2/wrong.png", "5")
    for person in ("7", "21", "22"):
        for number in range(3):
            write_view(path / "others", f"{person}/test-{number}.png", person)
    write_work_directory(path / "run", centred=True)
    return path


@pytest.fixture
def here(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    return tmp_path


def test_what_is_planted_is_found_and_can_be_left_out(here, capsys):
    given = ("--path=faces", "--checkpoint=run", "--against_path=others", f"--out={here}/out")
    # A network that nobody trained finds strangers alike, too.
    assert _audit(*given, "--same_at=0.999", "--margin=-0.5") == 0
    told = capsys.readouterr().out
    assert "duplicates: 1 pairs of the 11 identities" in told
    assert "labels: 1 of 44 images" in told and "1 of 44 of domain easy" in told
    assert "overlap: 1 of 11 identities look like one of the 3" in told
    assert told.endswith(f"--config.data.exclude={here}/out/exclude.txt\n")
    (pair,) = read_rows(here / "out/duplicates.csv")
    assert (pair["first"], pair["second"]) == ("3", "11")
    assert (pair["first_images"], pair["second_images"]) == ("4", "3")
    (pair,) = read_rows(here / "out/overlap.csv")
    assert (pair["first"], pair["second"], pair["second_images"]) == ("7", "7", "3")
    labels = read_rows(here / "out/labels.csv")
    assert len(labels) == 44 and [float(row["margin"]) for row in labels] == sorted(
        float(row["margin"]) for row in labels
    )
    assert (labels[0]["path"], labels[0]["identity"]) == ("2/wrong.png", "2")
    assert labels[0]["nearest"] == "5"
    assert (here / "out/exclude.txt").read_text().splitlines() == [
        "# 1 nearer to another identity than to their own",
        "2/wrong.png",
        "# 1 the smaller of two that look like one",
        "11",
        "# 1 in the other set too",
        "7",
    ]
    data = Data(source="image_folder", path="faces", exclude=str(here / "out/exclude.txt"))
    index = open_source(data, Synthetic()).index
    assert len(index) == 44 - 1 - 3 - 4 and not {"7", "11"} & set(index.identities.tolist())
    assert _audit(*given) == 2  # the list may be edited by now
    assert "exists already" in capsys.readouterr().err


def test_who_is_found_in_merged_data_becomes_one_person(here, capsys):
    (here / "all.csv").write_text(
        "name,source,path\n" + "".join(f"{n},image_folder,{n}\n" for n in ("faces", "others"))
    )
    for name in ("faces", "others"):
        (here / name).symlink_to(here.cwd() / name)
    given = ("--source=merged", f"--path={here}/all.csv", "--checkpoint=run", f"--out={here}/out")
    assert _audit(*given, "--same_at=0.999", "--margin=-0.5") == 0
    capsys.readouterr()
    found = {(row["first"], row["second"]) for row in read_rows(here / "out/duplicates.csv")}
    assert found == {("faces/3", "faces/11"), ("faces/7", "others/7")}
    data = Data("merged", str(here / "all.csv"), same=str(here / "out/duplicates.csv"))
    index = open_source(data, Synthetic()).index
    assert index.classes == 11 + 3 - 2
    assert not {"faces/11", "others/7"} & set(index.identities.tolist())


def test_a_set_may_be_compared_with_other_people_of_its_folder(here, capsys):
    given = ("--path=faces", "--identities=1..5", "--against_identities=6..11")
    assert _audit(*given, "--checkpoint=run", f"--out={here}/out", "--same_at=0.999") == 0
    assert "overlap: 1 of 5 identities look like one of the 6" in capsys.readouterr().out
    (pair,) = read_rows(here / "out/overlap.csv")
    assert (pair["first"], pair["second"]) == ("3", "11")


GIVEN = ["--path=faces", "--checkpoint=run", "--out=OUT"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (GIVEN[1:], "--path is missing"),
        (GIVEN[:2], "--out is missing"),
        ([GIVEN[0], GIVEN[2]], "--checkpoint is missing"),
        ([*GIVEN, "faces"], "takes flags only, not 'faces'"),
        ([*GIVEN, "--identities=1"], "has one identity only"),
        ([*GIVEN, "--against_path=nothing"], "no folder 'nothing'"),
        ([*GIVEN, "--against_source=tfds"], "--against_path is empty"),
        ([*GIVEN, "--against_identities=99"], "--against.identities names identity '99'"),
        ([*GIVEN, "--same_at=2"], "same_at"),
    ],
)
def test_a_mistake_is_one_line_and_no_file(here, capsys, arguments, told):
    assert _audit(*(a.replace("OUT", f"{here}/out") for a in arguments)) == 2
    printed = capsys.readouterr()
    assert told in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not any(here.iterdir())
