"""A network that nobody trained, and a way to run a command of eval.py."""

import pathlib

import jax
import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.training.checkpoint import Checkpoints, load_checkpoint

from ..training.work_directory import write_work_directory


@pytest.fixture(scope="session")
def workdir(tmp_path_factory) -> pathlib.Path:
    """A network for BGR images of 32x32, 16 numbers an embedding; of step 8 it is all NaN."""
    directory = tmp_path_factory.mktemp("network") / "run"
    state = write_work_directory(directory, centred=True)
    with Checkpoints(directory, read_only=True) as checkpoints:
        meta = checkpoints.read_meta(7)
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), state.params)
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(state.replace(params=broken, step=state.step + 1), meta)
    return directory


@pytest.fixture
def home(tmp_path, monkeypatch) -> pathlib.Path:
    """The current directory, whose embeddings are kept in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    return tmp_path


@pytest.fixture
def run(workdir, home, capsys):
    """Runs `eval.py COMMAND ... --workdir=... --step=7` -> what it says.

    With `status` not 0 that is the one line of the error, without the program's name.
    """

    def run(*arguments: str, status: int = 0, network: bool = True) -> str:
        given = [f"--workdir={workdir}", "--step=7"] if network else []
        ended = command_line.run(command_line.evaluate, ["eval.py", *arguments, *given])
        printed = capsys.readouterr()
        assert ended == status, printed.err
        if status == 0:
            return printed.out + printed.err
        assert printed.err.startswith("eval.py: ") and printed.err.count("\n") == 1
        assert not printed.out
        return printed.err.removeprefix("eval.py: ")

    return run


def direct(workdir, pixels: np.ndarray, *, flip: bool = True) -> np.ndarray:
    """The network applied to `[n, 32, 32, 3]` RGB, with no code of evaluation between."""
    module, variables, card = load_checkpoint(workdir, 7)
    one = np.asarray(module.apply(variables, card.normalise(pixels)))
    if not flip:
        return one
    return one + np.asarray(module.apply(variables, card.normalise(pixels[:, :, ::-1])))
