"""`python -m ddl_jax.data pack`: a folder of images as a few large files."""

import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from ddl_jax import command_line
from ddl_jax.errors import UserError


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data pack --path=FOLDER --out=DIR [--name=NAME] [...]`

    Packs an image folder (identity/.../image) as a TFDS data set, and prints what is in it and the
    settings that train on it. The domains are told once, here, and kept in the data set.
    """
    values = flags.FlagValues()
    _define(values)
    command = command_line.words(argv, values, main.__doc__)
    if command is None:
        return
    if command != ["pack"]:
        given = " ".join(command)
        raise UserError(f"unknown command {given!r}; write python -m ddl_jax.data pack ...")
    for name in ("path", "out"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; see python -m ddl_jax.data --help")
    print(_pack(values))


def _define(values: flags.FlagValues) -> None:
    def text(name: str, default: str, meaning: str) -> None:
        flags.DEFINE_string(name, default, meaning, flag_values=values)

    text("path", "", "The folder, with one sub-folder an identity.")
    text("out", "", "The directory for the data set; it goes to OUT/image_folder/NAME.")
    text("name", "faces", "The data set's name.")
    text("metadata", "", "A CSV with a column `path`; its --domain_column then meets the rules.")
    text("domain_column", "", "The column of --metadata.")
    text("corrupt", "refuse", "What to do with an unreadable image: refuse or skip.")
    flags.DEFINE_list(
        "domain_rules", [], "PATTERN=DOMAIN,...: the first that fits wins.", flag_values=values
    )


def _pack(values: flags.FlagValues) -> str:
    """Packs -> what to tell."""
    from ddl_jax import config as config_lib  # after the cheap checks: TFDS is slow to import
    from ddl_jax.data import open_source, tfds_source

    data = config_lib.Data(
        source="image_folder",
        path=values.path,
        domain_rules=tuple(values.domain_rules),
        metadata=values.metadata,
        domain_column=values.domain_column,
        corrupt=values.corrupt,
    )
    config_lib.validate(config_lib.Config(data=data))
    source = open_source.open_source(data, config_lib.Synthetic())
    directory = tfds_source.pack(source, values.out, values.name)
    names, counts = np.unique(source.index.domains, return_counts=True)
    domains = ", ".join(f"{count} {name}" for name, count in zip(names, counts))
    return (
        f"{len(source)} images of {source.index.classes} identities: {domains}; "
        f"unreadable and skipped: {len(source.skipped)}\n"
        f"--config.data.source=tfds --config.data.path={directory}"
    )


if __name__ == "__main__":
    sys.exit(command_line.run(main, ["ddl_jax.data", *sys.argv[1:]]))
