"""Several processes as one program: on TPU pods, under Slurm or Open MPI, or by flags."""

import glob
import importlib.util
import os

from absl import flags

from ddl_jax.errors import UserError
from ddl_jax.last_words import last_words

_FLAGS = ("coordinator", "processes", "process")
# Seconds, both jax's own defaults: that a process waits for the others to start, and after which
# one that is not heard of is lost.
_START, _HEARTBEAT = 300, 100


def define_flags(values: flags.FlagValues) -> None:
    """The flags of a program that may be one of several processes."""
    flags.DEFINE_string(
        "coordinator",
        "",
        "HOST:PORT of process 0, the same for all; where no cluster tells.",
        flag_values=values,
    )
    flags.DEFINE_integer("processes", 0, "How many there are.", flag_values=values)
    flags.DEFINE_integer("process", -1, "Which this is, from 0.", flag_values=values)
    flags.DEFINE_integer(
        "start_timeout",
        _START,
        "Seconds to wait for the others.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "heartbeat_timeout",
        _HEARTBEAT,
        "Seconds without a word after which a process is lost, and all end.",
        lower_bound=1,
        flag_values=values,
    )


def join(values: flags.FlagValues) -> None:
    """Makes this process one of the program's; before anything else is asked of jax.

    By flags, or where a TPU pod, Slurm or Open MPI started several, by what those tell jax. Alone
    otherwise.

    Raises:
      UserError: the flags are incomplete, or the others did not come in time.
    """
    given = [name for name in _FLAGS if values[name].present]
    _check(values, given)
    if not given and not _is_one_of_several():
        return
    import jax  # after the cheap checks: it is slow to import

    addresses = (values.coordinator, values.processes, values.process) if given else ()
    late = (
        f"the processes did not come together within --start_timeout={values.start_timeout} "
        "seconds; see that all are started, those that say nothing first, and reach "
        + (f"--coordinator={values.coordinator}" if given else "process 0")
    )
    try:
        with last_words(late):  # jax aborts the program
            jax.distributed.initialize(
                *addresses,
                initialization_timeout=values.start_timeout,
                # process_watch is to be first: jax ends a program with pages of C++.
                heartbeat_timeout_seconds=3 * values.heartbeat_timeout,
            )
    except (RuntimeError, ValueError) as error:
        told = str(error).strip().splitlines()[0][:300]
        raise UserError(f"{late} ({told})") from error


def _check(values: flags.FlagValues, given: list[str]) -> None:
    if not given:
        return
    missing = [name for name in _FLAGS if name not in given]
    if missing:
        raise UserError(f"--{given[0]} needs --{missing[0]}; give {', '.join(_FLAGS)} together")
    host, _, port = values.coordinator.rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"--coordinator is {values.coordinator!r}; give HOST:PORT of process 0")
    if not 0 <= values.process < values.processes:
        raise UserError(
            f"--process is {values.process}, of --processes={values.processes}; give 0 to "
            f"{values.processes - 1}"
        )


def _is_one_of_several() -> bool:
    """Whether something started several processes that jax can find without being told."""
    tasks = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    if any(int(os.environ.get(name) or 1) > 1 for name in tasks):
        return True
    # On a TPU jax asks the machine itself; a host that is alone comes together with itself.
    has_chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(has_chips) and importlib.util.find_spec("libtpu") is not None
