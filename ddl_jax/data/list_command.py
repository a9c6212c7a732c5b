"""`python -m ddl_jax.data list`: any source as a list of its images, and the images if wanted."""

import os
from collections.abc import Sequence

from absl import flags

from ddl_jax import config as config_lib
from ddl_jax.data import command, source_flags
from ddl_jax.errors import UserError

_OF_FILES = ("image_folder", "list")  # sources whose images are files already


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data list --path=PATH --out=LIST [--images=DIR] [...]`

    Writes a line `path identity domain` for each image of a source (a folder of faces by default,
    --source=... for others), with tabs, or commas if LIST ends in .csv. --images writes the images
    too, as files: what is in a train.rec, in shards or in a packed data set has none.
    """
    values = flags.FlagValues()
    source_flags.define(values)
    flags.DEFINE_string("out", "", "The list to write.", flag_values=values)
    flags.DEFINE_string("images", "", "A folder to write the images into.", flag_values=values)
    if not command.read_flags(argv, values, main.__doc__, "list"):
        return
    command.check_given(values, ("path", "out"), "list")
    print(_list(values))


def _list(values: flags.FlagValues) -> str:
    """Writes the list -> what to tell."""
    data = source_flags.read(values)
    if not (values.images or data.source in _OF_FILES):
        raise UserError(
            f"--source={data.source} has no image files that a list could name; give --images=DIR, "
            "and they are written there"
        )
    # After the cheap checks: TFDS is slow to import.
    from ddl_jax.data.open_source import open_source
    from ddl_jax.data.write_list import write_list

    source = open_source(data, config_lib.Synthetic())
    write_list(values.out, source, images=values.images)
    root = values.images or data.root
    if not root:
        root = data.path if data.source == "image_folder" else os.path.dirname(data.path) or "."
    flags_of_it = config_lib.as_flags(
        {"data.source": "list", "data.path": values.out, "data.root": root}
    )
    return f"{len(source)} images of {source.index.classes} identities\n{' '.join(flags_of_it)}"
