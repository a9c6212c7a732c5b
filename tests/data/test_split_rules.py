"""Rules from scores to domains, by hand."""

import numpy as np
import pytest

from ddl_jax.data.index_file import index_table
from ddl_jax.data.open_source import assign_domains
from ddl_jax.data.source import make_index
from ddl_jax.data.split_rules import read_rules, scores_of, split_domains
from ddl_jax.errors import UserError

DOMAINS = np.array(["easy", "easy", "easy", "night", "night"])
SCORES = {
    "yaw": np.array([0.0, 30.0, 60.0, 70.0, np.nan]),
    "sharpness": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
}


def _split(*rules: str) -> list[str]:
    return split_domains(read_rules(rules), SCORES, DOMAINS).tolist()


@pytest.mark.parametrize(
    "rules, expected",
    [
        ((), ["easy", "easy", "easy", "night", "night"]),
        (("profile:yaw>=60",), ["easy", "easy", "profile", "profile", "night"]),
        (("profile:yaw>60",), ["easy", "easy", "easy", "profile", "night"]),
        # The first that fits wins, and an image without the score meets no rule about it.
        (("a: yaw < 100", "b:sharpness>0"), ["a", "a", "a", "a", "b"]),
        (("dark:yaw>=30&domain=night",), ["easy", "easy", "easy", "dark", "night"]),
        (("dark:domain = night",), ["easy", "easy", "easy", "dark", "dark"]),
        # Quantiles are over the images that have the score: the median yaw is 45.
        (("turned:yaw>50%",), ["easy", "easy", "turned", "turned", "night"]),
        (("blurred:sharpness<=25%",), ["blurred", "blurred", "easy", "night", "night"]),
        (("low_light.2:yaw>-1e1&sharpness<2",), ["low_light.2", "easy", "easy", "night", "night"]),
    ],
)
def test_rules_by_hand(rules, expected):
    assert _split(*rules) == expected


def test_the_scores_that_rules_ask_for():
    rules = read_rules(("a:yaw>1&domain=easy", "b:norm<5%&yaw<0"))
    assert scores_of(rules) == ["yaw", "norm"]


@pytest.mark.parametrize(
    "rule, told",
    [
        ("yaw>60", "write NAME:SCORE<NUMBER"),
        ("hard:", "write NAME:SCORE<NUMBER"),
        ("a/b:yaw>1", "write NAME:SCORE<NUMBER"),
        ("hard:yaw=60", "'yaw=60' is no condition"),
        ("hard:yaw>much", "'yaw>much' is no condition"),
        ("hard:yaw>nan", "no condition"),
        ("hard:yaw>1&", "'' is no condition"),
        ("hard:yaw>120%", "from 0% to 100%"),
        ("hard:yaw>90", "no image is of domain 'hard' by its rule; yaw goes from 0 to 70"),
        ("hard:domain=nothing", "no image is of domain 'hard'"),
    ],
)
def test_a_rule_that_is_none_or_fits_nothing_is_refused(rule, told):
    with pytest.raises(UserError) as caught:
        _split(rule)
    assert told in str(caught.value)


def test_a_rule_behind_one_that_takes_all_its_images_is_refused():
    with pytest.raises(UserError, match="'b' by its rule, those of earlier rules apart; yaw"):
        _split("a:yaw>10", "b:yaw>60")


def test_training_reads_the_index_file(tmp_path):
    paths = [f"{i}/a, b.png" for i in range(5)]
    index = make_index(list("01234"), paths, DOMAINS, range(5))
    text = index_table(index, np.array(["easy", "hard"] * 2 + ["easy"]), SCORES)
    assert text.splitlines()[:2] == ["path,domain,yaw,sharpness", '"0/a, b.png",easy,0,1']
    assert text.splitlines()[5] == '"4/a, b.png",easy,,5'
    (tmp_path / "split.csv").write_text(text)
    found = assign_domains(paths, (), metadata=str(tmp_path / "split.csv"), column="domain")
    assert found == ["easy", "hard", "easy", "hard", "easy"]
