"""`python -m ddl_jax.data split`: from images to the settings that train on its sets and pairs."""

import shlex

import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.config import Batch, Data, Synthetic, from_json, parse, to_json
from ddl_jax.data.__main__ import main
from ddl_jax.data.open_source import open_source
from ddl_jax.data.source import RecordIndex
from ddl_jax.errors import UserError
from ddl_jax.training import identities, split_data
from ddl_jax.training.prepare import prepare

from .looked_at import read_rows, write_people
from .work_directory import write_work_directory

pytestmark = pytest.mark.usefixtures("quick_compilation")

DATA = Data(source="image_folder", path="faces")


def _split(*arguments: str) -> int:
    return command_line.run(main, ["ddl_jax.data", "split", *arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("place")
    write_people(path / "faces", 12)
    write_work_directory(path / "run", centred=True)
    return path


@pytest.fixture
def here(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    return tmp_path


def test_a_split_is_measured_and_trains(here, capsys):
    rules = "--rules=night:brightness<40%"  # 2 of 5 images of everybody are dark
    network = ("--checkpoint=run", "--scores=similarity", "--minimum_similarity=0")
    here = here / "with a space"
    assert _split("--path=faces", f"--out={here}/out", rules, *network) == 0
    told = capsys.readouterr().out
    rows = read_rows(here / "out/split.csv")
    assert list(rows[0]) == ["path", "domain", "brightness", "similarity"] and len(rows) == 60
    for row in rows:
        assert row["domain"] == ("night" if "hard" in row["path"] else "easy")
        assert 0 < float(row["brightness"]) < 255 and -1 <= float(row["similarity"]) <= 1
    assert "easy: 36 images of 12 identities, 36 positive pairs of 12" in told
    assert "night: 24 images of 12 identities, 12 positive pairs of 12" in told
    assert "a DDL batch may have up to 12 rows" in told
    assert "| domains/night | gap |" in told and "\nnight: " in told and "E[S+] - E[S-]" in told
    assert "ATTENTION" not in told  # similarity is written, no rule looks at it
    page = (here / "out/report.html").read_text()
    assert "data:image/png" in page and "positive divergence" in page
    # The printed settings are the trainer's.
    settings = shlex.split(told[told.index("--config.data.") :].replace("\\\n", ""))
    (here / "any.py").write_text(
        "from ddl_jax.config import Config, Model\n"
        "def get_config():\n"
        "    model = Model('iresnet_tiny', embedding_size=16, input_size=(32, 32))\n"
        "    config = Config(batch_size=8, devices=1, model=model)\n"
        "    config.evaluation.every = -1\n"
        "    config.data.domain_rules = ('*/frontal/*=easy', '*/profile/*=hard')\n"
        "    return config\n"
    )
    arguments = ["train.py", f"--config={here}/any.py", f"--workdir={here}/trained", *settings]
    run = prepare(parse(arguments).config, here / "trained")
    assert run.pairs_file.name == "pairs.csv" and list(run.pairs) == ["easy", "night"]
    assert {len(pairs) for pairs in run.pairs.values()} == {36, 12}
    assert run.source.index.domains.tolist() == [row["domain"] for row in rows]


def test_outliers_are_counted_and_left_out(here, capsys):
    given = ("--path=faces", "--rules=night:brightness<40%", "--checkpoint=run")
    assert _split(*given, f"--out={here}/all", "--pairs=easy_hard") == 0
    capsys.readouterr()
    assert (
        _split(*given, f"--out={here}/some", "--pairs=easy_hard", "--minimum_similarity=0.9") == 0
    )
    told = capsys.readouterr().out
    sizes = [len(read_rows(here / name / "pairs.csv")) for name in ("all", "some")]
    assert sizes[0] == 36 + 72  # 3 pairs of easy images, 6 of an easy and a hard one
    assert f"{sizes[0] - sizes[1]} of 108 possible pairs are below the similarity 0.9" in told
    assert 0 < sizes[1] < sizes[0]


def test_a_rule_about_the_network_is_warned_of(here, capsys):
    rules = "--rules=hard:similarity<40%,other:norm>90%"
    assert _split("--path=faces", f"--out={here}/out", rules, "--checkpoint=run") == 0
    told = capsys.readouterr().out
    assert "ATTENTION: the rules look at similarity and norm under this very network" in told


def test_a_second_look_embeds_nothing_and_takes_scores_from_the_first(here, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", f"{here}/cache")
    given = ("--path=faces", "--checkpoint=run", "--rules=night:brightness<40%")
    assert _split(*given, f"--out={here}/first", "--scores=similarity,norm") == 0
    first = capsys.readouterr().out

    def fail(*_):
        raise AssertionError("embeds again")

    monkeypatch.setattr("ddl_jax.evaluation.embedding._batches", fail)  # no image is decoded
    assert _split(*given, f"--out={here}/again", "--scores=similarity,norm") == 0
    assert capsys.readouterr().out == first.replace(f"{here}/first", f"{here}/again")
    # Without a network, from the columns of the table; not from pixels either.
    monkeypatch.setattr(
        "ddl_jax.data.scores.image_scores", lambda _, names: fail() if names else {}
    )
    rules = (
        "--rules=unlike:similarity<40%,night:brightness<40%",
        f"--table={here}/first/split.csv",
    )
    assert _split("--path=faces", f"--out={here}/out", *rules) == 0
    rows, old = read_rows(here / "out/split.csv"), read_rows(here / "first/split.csv")
    assert [row["similarity"] for row in rows] == [row["similarity"] for row in old]
    assert sum(row["domain"] == "unlike" for row in rows) == 24  # 40 % of 60
    assert _split("--path=faces", f"--out={here}/more", *rules, "--checkpoint=run") == 0
    assert (
        "similarity as --table has it. If that is of this very network" in capsys.readouterr().out
    )


def test_a_large_set_is_judged_by_some_of_its_people(here, capsys, monkeypatch):
    monkeypatch.setattr(split_data, "_MOST_JUDGED", 53)
    given = ("--path=faces", "--checkpoint=run", "--rules=night:brightness<40%")
    assert _split(*given, f"--out={here}/out") == 0
    told = capsys.readouterr().out
    assert "judged on 10 of 12 identities, drawn at random: 50 of 60 images" in told
    assert "easy: 36 images of 12 identities" in told  # the sets themselves are of all


def test_domains_of_few_people_are_judged_by_as_many_of_them(monkeypatch):
    monkeypatch.setattr(split_data, "_MOST_JUDGED", 400)
    labels = np.repeat(
        np.arange(1000), 3
    )  # two easy images each; the third of 50 is of a rare kind
    domains = np.where(np.arange(3000) % 3 < 2, "easy", "common")
    domains[2 : 3 * 1000 : 60] = "rare"
    index = RecordIndex(labels, labels.astype(str), np.arange(3000).astype(str), domains, labels)
    batch = Batch(kind="ddl", domains=("easy", "common", "rare"))
    rows = split_data._judged_rows(np.arange(3000), index, batch, 0)
    assert 390 < len(rows) <= 400
    people = np.unique(labels[rows])
    assert len(rows) == 3 * len(people)  # all images of those who are drawn
    assert 30 < (domains[rows] == "rare").sum() <= 50 < (domains[rows] == "common").sum()
    again = split_data._judged_rows(np.arange(3000), index, batch, 1)
    assert again.tolist() != rows.tolist()


def test_a_domain_without_an_easy_image_of_its_people_is_named():
    labels, domains = np.repeat(np.arange(3), 2), np.array(["easy"] * 4 + ["hard"] * 2)
    index = RecordIndex(labels, labels.astype(str), np.arange(6).astype(str), domains, labels)
    told = "both of domain 'easy' and of 'hard' to compare: .* --domains without 'hard'"
    with pytest.raises(UserError, match=told):
        split_data._measured_rows(index, Batch(kind="ddl", domains=("easy", "hard")))


def test_pairs_are_of_the_people_who_train(here, capsys):
    write_people(here / "faces", 4)
    given = (f"--path={here}/faces", f"--out={here}/out", "--rules=night:brightness<40%")
    assert _split(*given, "--train_identities=1..3") == 0
    told = capsys.readouterr().out
    assert "easy: 9 images of 3 identities, 9 positive pairs of 3" in told
    assert "--config.data.identities=1..3" in told
    assert len(read_rows(here / "out/split.csv")) == 20  # the evaluation's images have domains, too
    assert {row["first"][0] for row in read_rows(here / "out/pairs.csv")} == set("123")


def test_a_network_that_knows_the_people_is_warned_of(place, here, capsys):
    identities.write(place / "run", open_source(DATA, Synthetic()).index)
    config_file = place / "run/config.json"
    config = from_json(config_file.read_text())
    config.data = DATA
    config_file.write_text(to_json(config))
    given = ("--path=faces", f"--out={here}/out", "--rules=night:brightness<40%")
    try:
        assert _split(*given, "--checkpoint=run") == 0
    finally:
        (place / "run/identities.txt").unlink()
    assert "ATTENTION: run was trained on 12 of the 12 identities" in capsys.readouterr().out


def test_without_a_network_sets_and_pairs_are_made(here, capsys):
    write_people(here / "faces", 2)
    lines = ["path,quality", "1/hard-0.png,0.1", "1/hard-1.png,0.2", "1/easy-0.png,"]
    (here / "table.csv").write_text("\n".join(lines))
    eyes = "38 50 74 50 {} 72 42 92 70 92"
    (here / "points.txt").write_text(
        "".join(f"2/hard-{n}.png {eyes.format(x)}\n" for n, x in enumerate((56, 73)))
        + "".join(f"1/{d}-0.png {eyes.format(57)}\n" for d in ("easy", "hard"))
    )
    rules = "--rules=poor:quality<0.5,turned:yaw>30"
    files = (f"--table={here}/table.csv", f"--landmarks={here}/points.txt")
    given = (f"--path={here}/faces", f"--out={here}/out", rules, "--scores=roll,face_size")
    assert _split(*given, *files) == 2  # one turned image makes no pair
    assert "domain 'turned' has no positive pair" in capsys.readouterr().err
    assert not (here / "out").exists()
    assert _split(*given, *files, "--domains=easy,poor") == 0
    told = capsys.readouterr().out
    assert "turned: 1 images of 1 identities, not trained on" in told
    assert "quality: 1% 0.101" in told and "8 images have none" in told
    rows = {row["path"]: row for row in read_rows(here / "out/split.csv")}
    assert sorted(p for p, row in rows.items() if row["domain"] == "poor") == [
        "1/hard-0.png",
        "1/hard-1.png",
    ]
    assert rows["2/hard-1.png"]["domain"] == "turned"
    # tan(yaw) = 17 / 18: the nose stands 17 right of the middle of the eyes, which are 36 apart.
    np.testing.assert_allclose(
        float(rows["2/hard-1.png"]["yaw"]), np.degrees(np.arctan2(17, 18)), rtol=1e-4
    )
    assert float(rows["2/hard-1.png"]["face_size"]) == 42  # from 50 to 92
    assert rows["1/easy-1.png"]["yaw"] == rows["1/easy-1.png"]["quality"] == ""
    assert sorted(path.name for path in (here / "out").iterdir()) == ["pairs.csv", "split.csv"]


HARD = "--rules=hard:brightness<40%"


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--out=OUT"], "--path is missing"),
        (["--path=faces"], "--out is missing"),
        (["more", "--path=faces", "--out=OUT"], "takes flags only, not 'more'"),
        (["--path=faces", "--out=OUT"], "are of domain 'easy': give --rules"),
        (["--path=faces", "--out=OUT", "--rules=hard:beauty>1"], "no score 'beauty'"),
        (["--path=faces", "--out=OUT", "--rules=hard:yaw>1"], "needs --landmarks"),
        (["--path=faces", "--out=OUT", "--rules=hard:norm<9"], "needs --checkpoint"),
        (["--path=faces", "--out=OUT", "--rules=hard"], "write NAME:SCORE<NUMBER"),
        (["--path=faces", "--out=OUT", HARD, "--step=1"], "give --checkpoint too"),
        (["--path=faces", "--out=OUT", HARD, "--minimum_similarity=0"], "needs --checkpoint"),
        (["--path=faces", "--out=OUT", HARD, "--minimum_similarity=2"], "minimum_similarity"),
        (["--path=faces", "--out=OUT", HARD, "--pairs=any"], "choose one of same_domain, easy_h"),
        (["--path=faces", "--out=OUT", HARD, "--domains=easy,dark"], "--domains names 'dark'"),
        (["--path=faces", "--out=OUT", HARD, "--domains=hard,hard"], "name every domain once"),
        (["--path=faces", "--out=OUT", HARD, "--table=no.csv", "--scores=x"], "no file 'no.csv'"),
        (
            ["--path=faces", "--out=OUT", HARD, "--checkpoint=no"],
            "no 'no'; give a work",
        ),
        (
            ["--path=faces", "--out=OUT", HARD, "--checkpoint=run", "--colour=RGB"],
            "--colour is for a PyTorch file",
        ),
        (["--path=faces", "--out=OUT", HARD, "--checkpoint=run", "--mean=1,2"], "give 3 numbers"),
        (["--source=synthetic_faces", "--path=x", "--out=OUT", HARD], "give --source=tfds"),
        (
            ["--path=faces", "--out=OUT", "--rules=hard:yaw>1", "--landmarks=others.txt"],
            "others.txt names none of the images; it has 'else.png', the data '1/easy-0.png'",
        ),
    ],
)
def test_a_mistake_is_one_line_and_no_file(place, here, capsys, arguments, told):
    (place / "others.txt").write_text("else.png 38 50 74 50 56 72 42 92 70 92")
    assert _split(*(a.replace("OUT", f"{here}/out") for a in arguments)) == 2
    printed = capsys.readouterr()
    assert told in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not any(here.iterdir())


def test_an_edited_split_is_never_overwritten(here, capsys):
    (here / "out").mkdir()
    (here / "out/split.csv").write_text("edited")
    assert _split("--path=faces", f"--out={here}/out", HARD) == 2
    assert "exists already" in capsys.readouterr().err
    assert (here / "out/split.csv").read_text() == "edited"
