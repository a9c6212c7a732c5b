"""Which network a command looks at the data with, as flags: --checkpoint, --step, --network, ..."""

import math
from typing import Any

from absl import flags

from ddl_jax.errors import UserError


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""

    def text(name: str, meaning: str) -> None:
        flags.DEFINE_string(name, None, meaning, flag_values=values)

    text("checkpoint", "A work directory of train.py, or a PyTorch file (.pt, .pth, .ckpt).")
    flags.DEFINE_integer("step", None, "Of a work directory; the newest.", flag_values=values)
    text("network", "Of a PyTorch file: its network's name, where its tensors do not tell.")
    text("colour", "Of a PyTorch file: RGB or BGR.")
    for name, meaning in (
        ("input_size", "height,width; 112,112."),
        ("mean", "R,G,B of pixels 0..255."),
        ("deviation", "R,G,B of pixels 0..255."),
    ):
        flags.DEFINE_list(name, None, f"Of a PyTorch file: {meaning}", flag_values=values)


def read(values: flags.FlagValues) -> dict[str, Any] | None:
    """The fields of `training.recognizer.Choice`; None without --checkpoint.

    Raises:
      UserError: a value that cannot be one, or a flag about a network that is not given.
    """
    fields = {
        "step": values.step,
        "network": values.network,
        "colour": values.colour,
        "input_size": _numbers(values, "input_size", 2, int),
        "mean": _numbers(values, "mean", 3, float),
        "deviation": _numbers(values, "deviation", 3, float),
    }
    if values.checkpoint:
        return {"path": values.checkpoint, **fields}
    for name, value in fields.items():
        if value is not None:
            raise UserError(f"--{name} is about a network; give --checkpoint too")
    return None


def _numbers(values: flags.FlagValues, name: str, count: int, kind: type) -> tuple | None:
    given = values[name].value
    if given is None:
        return None
    try:
        numbers = tuple(kind(text) for text in given)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UserError(f"--{name} is {','.join(given)!r}; give {count} numbers")
    return numbers
