"""What kind of value a setting is, and whether it has one."""

import dataclasses
import math
import types
import typing
from typing import Any

from ddl_jax.config.settings import Config, get_setting
from ddl_jax.errors import UserError

_KINDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "True or False"}


_LISTS = {int: ("whole numbers", "1,2"), float: ("finite numbers", "1,2"), str: ("texts", "a,b")}


def check_types(name: str, value: Any) -> None:
    """Python takes any value and any new attribute; a config file's slip must not pass."""
    hints = typing.get_type_hints(type(value))
    for key in vars(value):
        if key not in hints:
            raise UserError(
                f"unknown config key {name}.{key}; the settings are in ddl_jax/config/settings.py"
            )
    for key, hint in hints.items():
        item = getattr(value, key)
        if not _is_of(item, hint):
            wanted = _wanted(f"{name}.{key}", hint)
            raise UserError(f"{name}.{key} is {item!r}; it must be {wanted}")
        if dataclasses.is_dataclass(hint):
            check_types(f"{name}.{key}", item)


def _wanted(name: str, hint: Any) -> str:
    """What a setting must be, in words; of a tuple also how it is given."""
    if not isinstance(hint, types.GenericAlias):
        return _KINDS.get(hint) or f"a {hint.__name__}"
    kind, *rest = typing.get_args(hint)
    words, example = _LISTS[kind]
    default = get_setting(Config(), name.removeprefix("config."))
    if default:
        example = ",".join(map(str, default))
    count = "" if rest == [...] else f"{1 + len(rest)} "
    return f"a tuple of {count}{words}, on the command line --{name}={example}"


def _is_of(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.GenericAlias):
        if not isinstance(value, tuple):
            return False
        parts = typing.get_args(hint)
        if parts[-1] is ...:
            parts = parts[:1] * len(value)
        return len(value) == len(parts) and all(map(_is_of, value, parts))
    if hint is float:
        return _is_of(value, int) or isinstance(value, float) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
