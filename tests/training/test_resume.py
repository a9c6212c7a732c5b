"""A run that stops, however hard, goes on and ends with the same parameters, bit for bit."""

import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from ddl_jax import config as config_lib
from ddl_jax.errors import UserError
from ddl_jax.training import train_and_evaluate
from ddl_jax.training.checkpoint import Checkpoints
from ddl_jax.training.metrics import read_metrics
from tests.programs import newest_checkpoint, start_program, wait_for_a_checkpoint

STEPS = 36  # a killed run dies three times before


def command(workdir, faces, **changes):
    """The command line of a run of seconds that saves every few steps."""
    settings = {
        "steps": STEPS,
        "checkpoint.every": 3,
        "data.path": faces,
        "evaluation.every": -1,
        "devices": 1,
        "log_every": 2,
        "optimizer.drop_steps": "(9,)",
        # Everything a loss may remember or draw: a margin's statistics, both queues, negatives.
        "loss.margin": "curricularface",
        "loss.distillation.past_similarities": 20,
        "loss.distillation.past_embeddings": 9,
        "loss.distillation.mining": "random",
    } | changes
    return [
        "--config=configs/synthetic_ddl.py:runlocal",
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in settings.items()),
    ]


def start(arguments, cache):
    """train.py in a process of its own."""
    return start_program("train.py", arguments, cache)


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def read_state(workdir, step=STEPS):
    """All arrays of a checkpoint, as the disk has them."""
    with Checkpoints(workdir, read_only=True) as checkpoints:
        manager = checkpoints._manager
        meta = manager.item_metadata(step)
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        wanted = {
            part: jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
                meta[part].tree if hasattr(meta[part], "tree") else meta[part],
            )
            for part in ("backbone", "heads", "batch_stats", "progress")
        }
        return jax.device_get(checkpoints.restore_parts(step, wanted))


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, faces, cache):
    workdir = tmp_path_factory.mktemp("run") / "whole"
    finish(start(command(workdir, faces), cache))
    return workdir


@pytest.mark.long  # in `make test` a kill says the same
def test_stopping_and_going_on_changes_no_bit(undisturbed, faces, cache, tmp_path):
    workdir = tmp_path / "stopped"
    finish(start(command(workdir, faces, steps=10), cache))
    output = finish(start(command(workdir, faces), cache))
    assert f"going on from step 10 of {workdir}" in output
    assert_same(read_state(workdir), read_state(undisturbed))


def kill_and_restart(kills, seed, faces, cache, workdir, steps=STEPS):
    """Kills a run so many times at random moments after its starts, and lets it end."""
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        process = start(command(workdir, faces, steps=steps), cache)
        before = newest_checkpoint(workdir)
        deadline = time.monotonic() + 240
        # Wait until this process itself has saved something, so that each kill has work to lose.
        while process.poll() is None and newest_checkpoint(workdir) <= before:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert newest_checkpoint(workdir) < steps, "it had ended before: give it more steps"
    finish(start(command(workdir, faces, steps=steps), cache))


def test_kill_9_changes_no_bit(undisturbed, faces, cache, tmp_path):
    workdir = tmp_path / "killed"
    kill_and_restart(3, 0, faces, cache, workdir)
    assert_same(read_state(workdir), read_state(undisturbed))
    # The log tells one story: every line once, in order, as if nothing had happened.
    rows, wanted = read_metrics(workdir), read_metrics(undisturbed)
    assert [row["step"] for row in rows] == [row["step"] for row in wanted]
    assert [row["loss"] for row in rows] == [row["loss"] for row in wanted]
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_sigterm_saves_and_leaves_and_meanwhile_nobody_else_comes_in(
    undisturbed, faces, cache, tmp_path
):
    workdir = tmp_path / "preempted"
    process = start(command(workdir, faces), cache)
    wait_for_a_checkpoint(workdir, [process])
    process.send_signal(signal.SIGSTOP)
    config = config_lib.parse(["train.py", *command(workdir, faces)]).config
    with pytest.raises(UserError, match=f"is in use by process {process.pid} on "):
        train_and_evaluate(config, workdir)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 75, output
    step = newest_checkpoint(workdir)
    assert 0 < step < STEPS
    assert f"told to leave (SIGTERM); step {step} is saved in {workdir}" in output
    finish(start(command(workdir, faces), cache))
    assert_same(read_state(workdir), read_state(undisturbed))


def test_a_run_with_a_damaged_checkpoint_goes_on_from_the_one_before(
    undisturbed, faces, cache, tmp_path
):
    workdir = tmp_path / "damaged"
    shutil.copytree(undisturbed, workdir)
    newest_one, before = (workdir / "checkpoints" / str(step) for step in (STEPS, STEPS - 3))
    assert before.is_dir()
    (newest_one / "meta" / "metadata").write_text("{")
    output = finish(start(command(workdir, faces), cache))
    assert f"the checkpoint of step {STEPS} is damaged; it is in {workdir / 'damaged'}" in output
    assert f"going on from step {STEPS - 3} of {workdir}" in output
    assert_same(read_state(workdir), read_state(undisturbed))


@pytest.mark.long
def test_thirty_kills_change_no_bit(faces, cache, tmp_path):
    whole, workdir, steps = tmp_path / "whole", tmp_path / "killed", 300
    finish(start(command(whole, faces, steps=steps), cache))
    kill_and_restart(30, 1, faces, cache, workdir, steps)
    assert_same(read_state(workdir, steps), read_state(whole, steps))


def test_a_work_directory_is_one_experiment(undisturbed, faces):
    arguments = command(undisturbed, faces) + ["--config.loss.scale=30.0"]
    config = config_lib.parse(["train.py", *arguments]).config
    with pytest.raises(UserError, match="belongs to a run with another config.loss.scale"):
        train_and_evaluate(config, undisturbed)


def test_changed_data_are_refused(undisturbed, faces):
    pairs = next((faces / ".ddl_jax").glob("pairs-*.csv"))
    text = pairs.read_text()
    try:
        pairs.write_text("\n".join(text.splitlines()[:-1]) + "\n")  # one pair less
        config = config_lib.parse(["train.py", *command(undisturbed, faces)]).config
        with pytest.raises(UserError, match="have changed since its checkpoint"):
            train_and_evaluate(config, undisturbed)
    finally:
        pairs.write_text(text)
