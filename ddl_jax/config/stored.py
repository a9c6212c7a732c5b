"""A config as JSON, as work directories keep it, and what two of them differ in."""

import dataclasses
import json
import types
import typing
from typing import Any

from ddl_jax.config.kinds import check_types
from ddl_jax.config.settings import Config
from ddl_jax.errors import UserError


def to_json(config: Config) -> str:
    """The config as JSON text; `from_json` is its inverse."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str | bytes, where: str = "config.json") -> Config:
    """The config that `to_json` wrote; `where` it stands is for the message.

    Raises:
      UserError: the text is damaged, or not of this version of the settings.
    """
    try:
        config = _build(Config, json.loads(text))
        check_types("config", config)
    except (TypeError, ValueError, AttributeError) as error:
        reason = f"{where} cannot be read: {error}"
        raise UserError(f"{reason}; it is damaged, or of another version of ddl_jax") from error
    return config


def _build(cls: type, value: Any) -> Any:
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        return cls(**{key: _build(hints.get(key), item) for key, item in value.items()})
    if isinstance(cls, types.GenericAlias):  # tuple[...]: JSON knows lists only
        return tuple(value)
    return value


def changed_keys(old: Config, new: Config) -> list[str]:
    """Names of the settings in which two configs differ, e.g. `optimizer.momentum`."""
    before, after = flat("", old), flat("", new)
    return [key for key in after if before.get(key) != after[key]]


def flat(prefix: str, value: Any) -> dict[str, Any]:
    """Every setting by its whole name."""
    if not dataclasses.is_dataclass(value):
        return {prefix: value}
    items: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        name = f"{prefix}.{field.name}" if prefix else field.name
        items |= flat(name, getattr(value, field.name))
    return items
