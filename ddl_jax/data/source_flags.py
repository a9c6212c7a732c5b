"""The settings `config.data` as flags of a command: --source, --path, --domain_rules, ..."""

import dataclasses
import typing

from absl import flags

from ddl_jax import config as config_lib
from ddl_jax.errors import UserError

_NOT_HERE = ("workers", "changed")  # of batches and runs, which no command makes


def define(values: flags.FlagValues, *, source: str = "image_folder") -> None:
    """Defines a flag for every setting of `config.data`; `source` is the default of --source."""
    define_by_type = {
        str: flags.DEFINE_string,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
    }
    hints = typing.get_type_hints(config_lib.Data)
    for name, default in vars(config_lib.Data(source=source)).items():
        if name in _NOT_HERE:
            continue
        of_type = define_by_type.get(hints[name], flags.DEFINE_list)  # tuple[str, ...]
        default = list(default) if of_type is flags.DEFINE_list else default
        of_type(name, default, f"config.data.{name} of training.", flag_values=values)


def read(values: flags.FlagValues) -> config_lib.Data:
    """The settings that `define`'s flags give, checked.

    Raises:
      UserError: settings that cannot work, named by their flags.
    """
    names = [field.name for field in dataclasses.fields(config_lib.Data)]
    given = {name: values[name].value for name in names if name not in _NOT_HERE}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    data = config_lib.Data(**given)
    try:
        config_lib.validate(config_lib.Config(data=data))
    except UserError as error:
        raise UserError(str(error).replace("config.data.", "--")) from error
    return data
