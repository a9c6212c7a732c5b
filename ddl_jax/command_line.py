"""What `train.py`, `eval.py` and `export.py` do with a command line."""

import atexit
import errno
import importlib
import logging
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # where Orbax's threads run
    # OpenCV logs every corrupt image that is refused, or skipped and counted, anyway. It reads this
    # when it is first imported, in worker processes too.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    name = os.path.basename(argv[0])
    try:
        main(argv)
    except UserError as error:
        return _refuse(name, str(error))
    except Preempted as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 75
    except ImportError as error:
        if "gcsfs" not in str(error):
            raise
        return _refuse(name, "gs:// needs gcsfs; pip install gcsfs")
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = f"{error.filename or 'a file'} cannot be written: {error.strerror}"
        return _refuse(name, f"{what}; make room and start the same command again")
    except KeyboardInterrupt:
        print(
            "interrupted; the same command starts again, training from its last checkpoint",
            file=sys.stderr,
        )
        return 130
    return 0


def _refuse(name: str, line: str) -> int:
    print(f"{name}: {line}", file=sys.stderr)
    atexit.register(_end_quietly)
    return 2


def _end_quietly() -> None:
    """Nothing after the line that says what was wrong: where saving or reading failed, Orbax leaves
    hundreds of unfinished tasks behind, each of which would tell of itself."""
    sys.unraisablehook = sys.excepthook = threading.excepthook = lambda *_: None


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


def dispatch(argv: Sequence[str], commands: Mapping[str, str], program: str) -> None:
    """Runs the command that the first word of a command line names.

    Args:
      argv: the command line, program name first.
      commands: the module of each command, by its name; only the one asked for is imported.
      program: how it is started, for the error.

    Raises:
      UserError: there is no such command.
    """
    name = argv[1] if len(argv) > 1 else ""
    if name not in commands:
        raise UserError(
            f"unknown command {name!r}; write {program} {' or '.join(commands)}, "
            "with --help for its flags"
        )
    importlib.import_module(commands[name]).main([argv[0], *argv[2:]])


def what_they_do(commands: Mapping[str, str]) -> str:
    """For `--help`: a line on every command, the first of its module's docstring."""
    documented = (importlib.import_module(module).__doc__ for module in commands.values())
    return "\n".join(text.splitlines()[0] for text in documented)


def cache_flag(values: flags.FlagValues) -> None:
    """The flag that `embedding_cache` reads."""
    flags.DEFINE_bool(
        "cache", True, "Keep embeddings in ~/.cache/ddl_jax for next time.", flag_values=values
    )


def embedding_cache(values: flags.FlagValues) -> Any:
    """Where this user's embeddings are kept, an `EmbeddingCache`; None where none are."""
    if not values.cache:
        return None
    from ddl_jax import cache_directory
    from ddl_jax.evaluation.embedding_cache import EmbeddingCache

    try:
        return EmbeddingCache(cache_directory.make("embeddings"))
    except (OSError, RuntimeError) as error:  # the latter of a user without a home
        print(f"embeddings are not kept ({error}); --nocache asks for none", file=sys.stderr)
        return None


def say_taken(cache: Any) -> None:
    """Says on stderr how many embeddings were not computed now."""
    if cache is not None and cache.taken:
        print(
            f"embeddings of {cache.taken:,} images were kept from before; --nocache computes them",
            file=sys.stderr,
        )


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
    keeps an evaluation on other data apart. As several processes: as train.py. Other commands, each
    with --help of its own, and one process:
    """
    if argv[1:] and not argv[1].startswith("-"):
        dispatch(argv, _evaluation_commands(), "python eval.py --workdir=DIR or python eval.py")
        return
    from ddl_jax import config, processes

    command = config.parse(argv, define=_evaluation_flags, trains=False)
    if not command.workdir:
        others = what_they_do(_evaluation_commands())
        print(evaluate.__doc__, others, command.flags, sep="\n")
        return
    processes.join(command.flags)
    from ddl_jax import compilation_cache, process_watch
    from ddl_jax.training.evaluate_workdir import evaluate_workdir

    compilation_cache.enable()
    cache = embedding_cache(command.flags)
    with process_watch.watched(command.flags.heartbeat_timeout):
        told = evaluate_workdir(
            command.workdir,
            command.config,
            step=command.flags.step,
            before=command.flags.before,
            name=command.flags.name,
            cache=cache,
        )
    if told:
        print(told)
    say_taken(cache)


def _evaluation_commands() -> dict[str, str]:
    """The module of every command of eval.py: those of `ddl_jax.commands` without an underscore."""
    from ddl_jax import commands

    names = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    return {name: f"{commands.__name__}.{name}" for name in names if not name.startswith("_")}


def _evaluation_flags(values: flags.FlagValues) -> None:
    from ddl_jax import processes

    processes.define_flags(values)
    flags.DEFINE_integer("step", None, "The checkpoint's step; the newest.", flag_values=values)
    flags.DEFINE_list("before", [], "Work directories to compare with.", flag_values=values)
    flags.DEFINE_string("name", "", "Of an evaluation on other data.", flag_values=values)
    cache_flag(values)


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
