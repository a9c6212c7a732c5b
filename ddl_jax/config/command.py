"""From a config file and the command line to a config that is checked."""

import dataclasses
import difflib
import os
import re
import shlex
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from etils import epath
from ml_collections import config_flags

from ddl_jax.config.settings import Config, no_data
from ddl_jax.config.stored import flat, from_json
from ddl_jax.config.validation import validate
from ddl_jax.errors import UserError


class CommandLine(NamedTuple):
    """What `parse` understood. config is None where none was given and none is required."""

    config: Config | None
    workdir: str
    flags: flags.FlagValues


def parse(argv: Sequence[str], *, define: Any = None, trains: bool = True) -> CommandLine:
    """Reads `--config=FILE[:VARIANT] --workdir=DIR --config.KEY=VALUE ...`.

    Args:
      argv: the command line, program name first.
      define: called with the FlagValues to add a program's own flags.
      trains: False for a program that only evaluates: it needs neither `--config` nor what only
        training reads.

    Raises:
      UserError: anything on the command line or in the file is wrong. Nothing has been written.
    """
    argv = [_spell_tuple(argument) for argument in argv]
    _check_keys(argv)
    base = None if trains else _own_config(argv)
    if base is None:
        _check_config_file(argv)
    values = flags.FlagValues()
    try:
        if base is None:
            config_flags.DEFINE_config_file(
                "config",
                None,
                "A file of configs/, with :VARIANT if it has any.",
                flag_values=values,
                sys_argv=argv,
            )
        else:
            config_flags.DEFINE_config_dataclass(
                "config", base, "The run's own.", flag_values=values, sys_argv=argv
            )
        flags.DEFINE_string("workdir", None, "Where this run keeps its files.", flag_values=values)
        flags.DEFINE_bool("help", False, "Print this help.", flag_values=values, short_name="h")
        if define is not None:
            define(values)
        rest = values(argv)
    except UserError:
        raise
    except Exception as error:  # a config file is anybody's code and may raise anything
        raise UserError(_one_line(error)) from error
    if values.help:
        return CommandLine(None, "", values)
    if rest[1:]:
        raise UserError(f"unexpected argument {rest[1]!r}; every setting is --name=value")
    if not values.workdir:
        raise UserError("--workdir is missing; give the directory where this run keeps its files")
    if values.config is None and not values["config"].present:
        if trains:
            raise UserError(
                "--config is missing; give a file of configs/, "
                "e.g. --config=configs/synthetic_pretrain.py"
            )
        return CommandLine(None, values.workdir, values)
    if not isinstance(values.config, Config):
        returned = type(values.config).__name__
        raise UserError(f"get_config() returned {returned}; return ddl_jax.config.Config")
    config = values.config
    if base is not None:
        _leave_out_own_data(config, argv)
    validate(config, trains=trains)
    return CommandLine(config, values.workdir, values)


def _own_config(argv: Sequence[str]) -> Config | None:
    """The work directory's config, where the command line changes one without naming a file."""
    if not any(re.match(r"--?(no)?config\.", argument) for argument in argv):
        return None
    if any(re.match(r"--?(config(=|$)|h$|help)", argument) for argument in argv):
        return None
    workdir = ""
    for i, argument in enumerate(argv):
        if given := re.fullmatch(r"--?workdir(?:=(.*))?", argument):
            workdir = given[1] if given[1] is not None else "".join(argv[i + 1 : i + 2])
    if not workdir:
        return None
    file = epath.Path(workdir) / "config.json"
    if not file.exists():
        raise UserError(f"{workdir} is no work directory of train.py: it has no config.json")
    return from_json(file.read_bytes(), os.fspath(file))


def _leave_out_own_data(config: Config, argv: Sequence[str]) -> None:
    """Protocols that are named, and no data, are all that is evaluated: the data may be gone."""
    named = {key for a in argv if (key := a.lstrip("-").partition("=")[0]).startswith("config.")}
    others = ("config.evaluation.data", "config.evaluation.pairs")
    if "config.evaluation.protocols" in named and not any(key.startswith(others) for key in named):
        config.evaluation.data, config.evaluation.pairs = no_data(), ()


def _spell_tuple(argument: str) -> str:
    """`--config.batch.domains=easy,dark`, which the flag library wants as ('easy', 'dark')."""
    given = re.fullmatch(r"(--?config\.([\w.]+)=)([^('\"].*)?", argument, re.DOTALL)
    if given is None or _type_of(given[2]) != tuple[str, ...]:
        return argument
    return given[1] + repr(tuple(given[3].split(",")) if given[3] else ())


def _type_of(key: str) -> Any:
    """The annotation of a setting, None if there is none of this name."""
    hint: Any = Config
    for part in key.split("."):
        hint = typing.get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else None
    return hint


def _check_config_file(argv: Sequence[str]) -> None:
    """The flag library takes a missing file without a word, until the config is first used.

    And it calls the settings of a config that was never named unknown flags.
    """
    named = any(re.match(r"--?config(=|$)", argument) for argument in argv)
    if not named and any(re.match(r"--?config\.", argument) for argument in argv):
        raise UserError("--config is missing; --config.KEY=VALUE changes a file: --config=FILE")
    for i, argument in enumerate(argv):
        if argument in ("--config", "-config") and i + 1 < len(argv):
            argument = f"--config={argv[i + 1]}"
        if argument.startswith(("--config=", "-config=")):
            path = argument.split("=", 1)[1].split(":", 1)[0]
            if not os.path.isfile(path):
                raise UserError(f"no config file {path!r}; the ready ones are in configs/")


def _check_keys(argv: Sequence[str]) -> None:
    """Overrides of settings that do not exist, before the flag library words it in its own way."""
    settings = flat("", Config())
    for argument in argv:
        given = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
        if given is None or (key := given[1]) in settings:
            continue
        if dataclasses.is_dataclass(_type_of(key)):
            inside = next(name for name in settings if name.startswith(f"{key}."))
            raise UserError(f"config.{key} is a group of settings; give one, as config.{inside}")
        last = key.rpartition(".")[2]  # its group may have been forgotten
        ends = {name: name.rpartition(".")[2] for name in settings}
        same = [name for name, end in ends.items() if last in (end, _initials(end))]
        close = difflib.get_close_matches(key, same or settings, 1, cutoff=0 if same else 0.8)
        hint = f" did you mean {close[0]}?" if close else ""
        raise UserError(
            f"unknown config key: {key};{hint} the settings are in ddl_jax/config/settings.py"
        )


def _initials(name: str) -> str:
    """As users shorten settings: lr, wd."""
    return "".join(word[:1] for word in name.split("_")) if "_" in name else name


def _one_line(error: Exception) -> str:
    """The last line of what a library says: some put a whole traceback into the message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    if isinstance(error, (flags.Error, UserError)):
        return text.removeprefix("ddl_jax.errors.UserError: ")
    return f"the config cannot be read: {type(error).__name__}: {text}"


def as_flags(values: Mapping[str, object]) -> list[str]:
    """Settings by name as flags that a shell takes as they stand; a tuple becomes its items."""
    texts = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
    }
    return [f"--config.{name}={shlex.quote(text)}" for name, text in texts.items()]
