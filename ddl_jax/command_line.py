"""What `train.py`, `eval.py` and `export.py` do with a command line."""

import os
import sys
from collections.abc import Callable, Sequence

import absl.logging
from absl import flags

from ddl_jax.errors import Preempted, UserError


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    """Runs a program -> its exit status.

    After one line: 2 for a user's mistake, 75 where the machine was wanted back.
    """
    # Orbax and TFDS report routine as warnings, and errors of their threads with pages of
    # traceback; what matters comes back as an exception.
    absl.logging.set_verbosity(absl.logging.FATAL)
    # OpenCV logs every corrupt image that is refused, or skipped and counted, anyway. It reads this
    # when it is first imported, in worker processes too.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    try:
        main(argv)
    except UserError as error:
        print(f"{os.path.basename(argv[0])}: {error}", file=sys.stderr)
        return 2
    except Preempted as error:
        print(f"{os.path.basename(argv[0])}: {error}", file=sys.stderr)
        return 75
    except ImportError as error:
        if "gcsfs" not in str(error):
            raise
        print(f"{os.path.basename(argv[0])}: gs:// needs gcsfs; pip install gcsfs", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(
            "interrupted; the same command starts again, training from its last checkpoint",
            file=sys.stderr,
        )
        return 130
    return 0


def words(argv: Sequence[str], values: flags.FlagValues, help_text: str) -> list[str] | None:
    """Reads the command line of a program without a config into `values` -> its other words.

    Args:
      argv: the command line, program name first.
      values: the program's own flags; `--help` is added.
      help_text: what `--help` prints before the flags; the answer is None then.

    Raises:
      UserError: a flag that is unknown or has an unfit value.
    """
    flags.DEFINE_bool("help", False, "Print this help.", flag_values=values, short_name="h")
    try:
        others = values(list(argv))[1:]
    except flags.Error as error:
        raise UserError(str(error).splitlines()[-1]) from error
    if not values.help:
        return others
    print(help_text, values, sep="\n")
    return None


def train(argv: Sequence[str]) -> None:
    """`train.py --config=FILE[:VARIANT] --workdir=DIR [--config.KEY=VALUE ...]`

    On a TPU pod, under Slurm or Open MPI the same command in every process; elsewhere with
    --coordinator, --processes and --process.
    """
    from ddl_jax import config, processes

    command = config.parse(argv, define=processes.define_flags)
    if command.config is None:
        print(__doc__, train.__doc__, command.flags, sep="\n")
        return
    processes.join(command.flags)
    from ddl_jax import compilation_cache, process_watch
    from ddl_jax.training.loop import train_and_evaluate  # after the cheap checks: it is slow

    compilation_cache.enable()
    with process_watch.watched(command.flags.heartbeat_timeout):
        train_and_evaluate(command.config, command.workdir)


def evaluate(argv: Sequence[str]) -> None:
    """`eval.py --workdir=DIR [--config=FILE ...] [--step=N] [--before=DIR,DIR] [--name=NAME]`

    Evaluates a checkpoint on what the config's `evaluation` says; without --config, on what the run
    itself was evaluated on. --before puts earlier runs' evaluations beside it in the report. --name
    keeps an evaluation on other data apart.
    """
    from ddl_jax import config

    command = config.parse(argv, define=_evaluation_flags, trains=False)
    if not command.workdir:
        print(evaluate.__doc__, command.flags, sep="\n")
        return
    from ddl_jax import compilation_cache
    from ddl_jax.training.evaluate_workdir import evaluate_workdir

    compilation_cache.enable()
    print(
        evaluate_workdir(
            command.workdir,
            command.config,
            step=command.flags.step,
            before=command.flags.before,
            name=command.flags.name,
        )
    )


def _evaluation_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("step", None, "The checkpoint's step; the newest.", flag_values=values)
    flags.DEFINE_list("before", [], "Work directories to compare with.", flag_values=values)
    flags.DEFINE_string("name", "", "Of an evaluation on other data.", flag_values=values)


def export(argv: Sequence[str]) -> None:
    """`export.py --workdir=DIR --out=FILE [--step=N] [--format=stablehlo|torch] [...]`

    Writes the backbone of a checkpoint for other programs: as StableHLO, one program with the
    preprocessing and the weights inside, or as a PyTorch state dict under its authors' names. The
    file is read back and compared with the network, also on --images, before it appears.
    """
    from ddl_jax import config

    command = config.parse(argv, define=_export_flags, trains=False)
    if not command.workdir:
        print(export.__doc__, command.flags, sep="\n")
        return
    if command.config is not None:
        raise UserError("--config is not for export.py, which takes the run's own; leave it out")
    from ddl_jax import compilation_cache
    from ddl_jax.training.export_workdir import export_workdir

    compilation_cache.enable()
    print(
        export_workdir(
            command.workdir,
            command.flags.out,
            step=command.flags.step,
            file_format=command.flags.format,
            platforms=command.flags.platforms,
            images=command.flags.images,
        )
    )


def _export_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("out", "", "The file: .stablehlo, .pt or .pth.", flag_values=values)
    flags.DEFINE_integer("step", None, "The checkpoint's step; the newest.", flag_values=values)
    flags.DEFINE_string(
        "format", "", "stablehlo or torch; what --out ends in tells it.", flag_values=values
    )
    flags.DEFINE_list(
        "platforms", None, "Of stablehlo: some of cpu, cuda, tpu; all.", flag_values=values
    )
    flags.DEFINE_string(
        "images", "", "A folder of images, or one, to compare the file on.", flag_values=values
    )
