"""`python -m ddl_jax.data pack`: any source as a few large files."""

from collections.abc import Sequence

import numpy as np
from absl import flags

from ddl_jax import command_line
from ddl_jax import config as config_lib
from ddl_jax.data import source_flags
from ddl_jax.errors import UserError


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data pack --path=FOLDER --out=DIR [--name=NAME] [...]`

    Packs a source as a TFDS data set, and prints what is in it and the settings that train on it.
    The domains are told once, here, and kept in the data set.
    """
    values = flags.FlagValues()
    source_flags.define(values)
    flags.DEFINE_string("out", "", "The directory for the data set.", flag_values=values)
    flags.DEFINE_string("name", "faces", "The data set's name.", flag_values=values)
    others = command_line.words(argv, values, main.__doc__)
    if others is None:
        return
    if others:
        raise UserError(f"pack takes flags only, not {others[0]!r}; see pack --help")
    for name in ("path", "out"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; see python -m ddl_jax.data pack --help")
    print(_pack(values))


def _pack(values: flags.FlagValues) -> str:
    """Packs -> what to tell."""
    data = source_flags.read(values)
    from ddl_jax.data import open_source, tfds_source  # after the cheap checks: TFDS is slow

    source = open_source.open_source(data, config_lib.Synthetic())
    directory = tfds_source.pack(source, values.out, values.name)
    names, counts = np.unique(source.index.domains, return_counts=True)
    domains = ", ".join(f"{count} {name}" for name, count in zip(names, counts))
    return (
        f"{len(source)} images of {source.index.classes} identities: {domains}; "
        f"unreadable and skipped: {len(source.skipped)}\n"
        f"--config.data.source=tfds --config.data.path={directory}"
    )
