"""What the log says aloud about the DDL's terms."""

from ddl_jax.config import Batch
from ddl_jax.training.alerts import Alerts

DDL = Batch(kind="ddl", domains=("easy", "dark"))


def lines(values, name):
    alerts = Alerts(DDL)
    rows = [{"positive_mean/easy": 0.5, "positive_divergence/dark": n} for n in range(len(values))]
    return [alerts.lines(row | {name: value}) for row, value in zip(rows, values, strict=True)]


def test_a_teacher_that_falls_is_told_once_for_each_fall():
    found = lines([0.5, 0.62, 0.6, 0.51, 0.5, 0.45, 0.39], "positive_mean/easy")
    assert [len(told) for told in found] == [0, 0, 0, 1, 0, 0, 1]
    assert found[3][0].startswith("the teacher's E[S+] fell from 0.620 to 0.510: the easy")
    assert found[6][0].startswith("the teacher's E[S+] fell from 0.510 to 0.390")


def test_a_student_that_falls_is_no_news():
    assert lines([0.9, 0.1], "positive_mean/dark") == [[], []]


def test_a_term_that_does_not_move_is_told():
    found = lines([1.0, *[2.0] * 11], "positive_divergence/dark")
    assert [number for number, told in enumerate(found) if told] == [5, 10]
    assert found[5] == ["positive_divergence/dark has been 2 for 5 lines: it does not learn"]


def test_margin_training_has_nothing_to_tell():
    assert Alerts(Batch()).lines({"loss": 1.0}) == []
