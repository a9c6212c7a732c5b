"""`python eval.py embed`: the embeddings of any images in one file, .npz or Parquet."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from ddl_jax import command_line
from ddl_jax import config as config_lib
from ddl_jax.commands import _network
from ddl_jax.data import source_flags
from ddl_jax.errors import UserError

# What a path's end says of a data set, where --images names one.
_SOURCES = {".txt": "list", ".lst": "list", ".csv": "list", ".tsv": "list", ".rec": "recordio"}


def main(argv: Sequence[str]) -> None:
    """`python eval.py embed --workdir=DIR --images=PATH --out=FILE.npz|FILE.parquet [...]`

    Writes the embedding of every image, in order, with names, labels and the model card. --images
    is a folder, an image, a verification set (.bin), a list (.txt, .lst, .csv, .tsv) or a
    train.rec; in its place --source, --path and so on name any data set that training reads. See
    docs/embedding.md.
    """
    values = flags.FlagValues()
    source_flags.define(values)
    _network.define(values)
    flags.DEFINE_string("images", "", "What to embed.", flag_values=values)
    flags.DEFINE_string("out", "", "The file: .npz or .parquet.", flag_values=values)
    flags.DEFINE_bool("unit", False, "Make embeddings of length 1.", flag_values=values)
    flags.DEFINE_bool(
        "flip",
        None,
        "Add the mirror image's embedding; as the run's evaluations do.",
        flag_values=values,
    )
    others = command_line.words(argv, values, main.__doc__)
    if others is None:
        return
    if others:
        raise UserError(f"embed takes flags only, not {others[0]!r}; see eval.py embed --help")
    print(_embed(values))


def _embed(values: flags.FlagValues) -> str:
    """Writes the file -> what to tell."""
    choice = _network.read(values, "embed")
    data = _data(values)
    if not values.out:
        raise UserError("--out is missing; give a file that ends in .npz or .parquet")
    from ddl_jax.evaluation import embedding_file  # after the cheap checks: jax is slow to import
    from ddl_jax.evaluation.similarity import unit_rows

    embedding_file.check_target(values.out)
    named = _open(values, data)
    network = _network.Network(values, choice, named)
    flip = network.recognizer.flip if values.flip is None else values.flip
    embeddings = network.embed(named, flip=flip)
    if values.unit:
        embeddings = unit_rows(embeddings)
    card = _card(network.recognizer, flip=flip, unit=values.unit)
    embedding_file.write_embeddings(values.out, embeddings, named.columns, card)
    network.say_taken()
    count, size = embeddings.shape
    return f"{values.out}: {count} embeddings of {size} numbers, with {', '.join(named.columns)}"


def _data(values: flags.FlagValues) -> config_lib.Data | None:
    """The data set that the flags name; None where --images leads to images."""
    if not values.images:
        if not values.path and values.source != "synthetic_faces":
            raise UserError("--images is missing; see python eval.py embed --help")
        return source_flags.read(values)
    for name in vars(config_lib.Data()):
        if name in values and values[name].present and name not in _OF_LISTS:
            raise UserError(f"--{name} is of a data set, --images of images; give --path for it")
    source = next((s for end, s in _SOURCES.items() if values.images.endswith(end)), None)
    if source is None:
        return None
    values.source, values.path = source, values.images
    return source_flags.read(values)


_OF_LISTS = ("root", "corrupt")  # what a list in --images may need


def _open(values: flags.FlagValues, data: config_lib.Data | None) -> Any:
    from ddl_jax.data.open_source import open_source
    from ddl_jax.evaluation.named_images import images_at, images_of

    if data is None:
        return images_at(values.images)
    try:
        return images_of(open_source(data, config_lib.Synthetic(), "config.data"))
    except UserError as error:
        raise UserError(str(error).replace("config.data.", "--")) from error


def _card(recognizer: Any, *, flip: bool, unit: bool) -> dict[str, Any]:
    """What a reader must know to use the numbers; the same for the same network and options."""
    import ddl_jax
    from ddl_jax.evaluation.embedding_cache import hash_variables

    model = recognizer.card.to_json()
    return {
        "model": model,
        "model_sha256": hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest(),
        "weights_sha256": hash_variables(recognizer.variables),
        "checkpoint step": recognizer.step,
        "embedding": "image + mirror image" if flip else "image",
        "length": "1" if unit else "as the network gives it",
        "ddl_jax": ddl_jax.__version__,
    }
