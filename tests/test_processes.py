"""Several processes as one run: train.py and eval.py as somebody would start them."""

import json
import shutil
import signal
import socket

import jax
import numpy as np
import pytest

from ddl_jax import config as config_lib
from ddl_jax import load_checkpoint, processes
from ddl_jax.errors import UserError
from ddl_jax.training import train_and_evaluate
from ddl_jax.training.metrics import read_metrics
from tests.programs import start_program, wait_for_a_checkpoint

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def start(program, arguments, *, count, devices, cache):
    """A program as `count` processes of `devices` CPU devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator=localhost:{port}", f"--processes={count}"] if count > 1 else []
    environment = {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "XLA_FLAGS": "",
    }
    return [
        start_program(
            program,
            [*arguments, *together, *([f"--process={number}"] if together else [])],
            cache,
            **environment,
        )
        for number in range(count)
    ]


def finish(started, status=0):
    outputs = [process.communicate(timeout=400)[0] for process in started]
    assert [process.returncode for process in started] == [status] * len(started), outputs
    return outputs


def command(workdir, faces, **changes):
    settings = {"data.path": faces, "steps": 2, "checkpoint.every": 1} | changes
    return [
        "--config=configs/synthetic_ddl.py:runlocal",
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in settings.items()),
    ]


def train_here(workdir, faces, **changes):
    """The same in this process, on some of its devices."""
    config = config_lib.parse(["train.py", *command(workdir, faces, **changes)]).config
    train_and_evaluate(config, workdir)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, faces, quick_compilation):
    workdir = tmp_path_factory.mktemp("alone") / "run"
    train_here(workdir, faces, devices=4)
    return workdir


def assert_same_run(workdir, wanted):
    (_, found, _), (_, expected, _) = load_checkpoint(workdir), load_checkpoint(wanted)
    # A fresh network multiplies the rounding of another order of sums, here by hundreds a step.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)
    losses = [[row["loss"] for row in read_metrics(path)] for path in (workdir, wanted)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.fixture(
    scope="module", params=[2, pytest.param(4, marks=pytest.mark.long)], ids=["two", "four"]
)
def together(request, faces, cache, quick_compilation, tmp_path_factory):
    """(how many processes, their run, what each said)."""
    count, workdir = request.param, tmp_path_factory.mktemp("together") / "run"
    arguments = command(workdir, faces)
    started = start("train.py", arguments, count=count, devices=4 // count, cache=cache)
    return count, workdir, finish(started)


def read_results(workdir, step):
    return json.loads((workdir / f"evaluation/{step}/results.json").read_text())


def assert_same_results(found, wanted):
    for protocol, metrics in wanted.items():
        assert abs(found[protocol]["separation"] - metrics["separation"]) < 1e-4


def test_processes_train_and_evaluate_as_one_does(together, alone):
    _, workdir, outputs = together
    assert f"processes: 0 on {socket.gethostname()}, 1 on" in outputs[0]
    assert all("step 2/2" not in output for output in outputs[1:])  # one of them tells
    assert_same_run(workdir, alone)
    assert_same_results(read_results(workdir, 2), read_results(alone, 2))


@pytest.mark.long  # as long as the test above, and rests on the same exchange of state and rows
def test_one_goes_on_where_several_were_and_several_evaluate_what_it_left(
    together, faces, cache, tmp_path
):
    count, theirs, _ = together
    workdir = shutil.copytree(theirs, tmp_path / "run")
    train_here(workdir, faces, steps=3, devices=2)
    wanted = read_results(workdir, 3)
    (workdir / "evaluation/3/results.json").unlink()
    arguments = [f"--workdir={workdir}"]
    outputs = finish(start("eval.py", arguments, count=count, devices=1, cache=cache))
    assert "rank_1" in outputs[0] and "rank_1" not in outputs[1]
    assert_same_results(read_results(workdir, 3), wanted)


def test_sigterm_to_one_process_saves_and_ends_all(faces, cache, tmp_path):
    workdir = tmp_path / "run"
    arguments = command(
        workdir, faces, steps=2000, **{"checkpoint.every": 1, "evaluation.every": -1}
    )
    # As many devices as above: what that run has compiled is there.
    started = start("train.py", arguments, count=2, devices=2, cache=cache)
    wait_for_a_checkpoint(workdir, started)
    started[1].send_signal(signal.SIGTERM)
    outputs = finish(started, status=75)
    steps = {output.split("; step ")[1].split(" is saved")[0] for output in outputs}
    assert len(steps) == 1
    assert (workdir / "checkpoints" / steps.pop()).is_dir()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--processes=2"],
            "--processes needs --coordinator; give coordinator, processes, process",
        ),
        (
            ["--coordinator=a", "--processes=2", "--process=0"],
            "is 'a'; give HOST:PORT of process 0",
        ),
        (
            ["--coordinator=a:1", "--processes=2", "--process=2"],
            "is 2, of --processes=2; give 0 to 1",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(words, told):
    arguments = ["train.py", *command("runs/x", "faces"), *words]
    command_line = config_lib.parse(arguments, define=processes.define_flags)
    with pytest.raises(UserError, match=told):
        processes.join(command_line.flags)


@pytest.mark.long  # it waits, and jax prints pages
def test_a_process_that_does_not_come_is_told(faces, cache, tmp_path):
    arguments = [*command(tmp_path / "run", faces), "--start_timeout=5"]
    first, second = start("train.py", arguments, count=2, devices=1, cache=cache)
    second.kill()
    output = first.communicate(timeout=200)[0]
    second.communicate()
    assert first.returncode != 0 and not (tmp_path / "run").exists()
    told = output.splitlines()[-1]  # after the pages of jax
    assert told.startswith("train.py: the processes did not come together within --start_timeout=5")
    assert told.endswith(f"reach {arguments_of(first, '--coordinator')}")


def arguments_of(process, name):
    return next(word for word in process.args if word.startswith(name))


@pytest.mark.long  # tests/test_process_watch.py has the same without a training
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_with_a_line(victim, faces, cache, tmp_path):
    workdir = tmp_path / "run"
    arguments = command(workdir, faces, steps=2000, **{"evaluation.every": -1})
    arguments.append("--heartbeat_timeout=10")
    started = start("train.py", arguments, count=2, devices=1, cache=cache)
    wait_for_a_checkpoint(workdir, started)
    started[victim].kill()
    output = started[1 - victim].communicate(timeout=60)[0]
    if victim == 1:
        assert started[0].returncode == 1
        told = f"process 1 on {socket.gethostname()} has not been heard of for 1"
    else:
        assert started[1].returncode == -signal.SIGABRT
        told = "process 1 ended without a word: killed, or by jax because process 0 at localhost:"
    assert output.splitlines()[-1].startswith(f"train.py: {told}")
    started[victim].communicate()
