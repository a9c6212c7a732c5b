"""`python eval.py match A.jpg B.jpg`: are two photos of one person, and what the cosine means."""

from collections.abc import Sequence

from absl import flags
from etils import epath

from ddl_jax import command_line
from ddl_jax.commands import _meaning, _network
from ddl_jax.errors import UserError


def main(argv: Sequence[str]) -> None:
    """`python eval.py match A.jpg B.jpg --workdir=DIR [--step=N] [--threshold=COSINE] [...]`

    Prints the cosine of two aligned faces, and what it means by the thresholds that the run's own
    evaluation measured. --landmarks or --detector aligns photos. See docs/embedding.md.
    """
    values = flags.FlagValues()
    _network.define(values)
    _meaning.define(values)
    images = command_line.words(argv, values, main.__doc__)
    if images is None:
        return
    if len(images) != 2:
        raise UserError(f"match takes two images, not {len(images)}; see eval.py match --help")
    print(_match(values, *images))


def _match(values: flags.FlagValues, first: str, second: str) -> str:
    """Compares -> what to tell."""
    choice = _network.read(values, "match")
    _meaning.check(values)
    for path in (first, second):
        if epath.Path(path).is_dir():
            raise UserError(f"{path} is a folder; match takes two images, search folders")
    from ddl_jax.evaluation.named_images import images_at, joined  # after the cheap checks: slow
    from ddl_jax.evaluation.similarity import pair_cosines, unit_rows

    images = joined([images_at(path) for path in (first, second)])
    network = _network.Network(values, choice, images)
    calibration = _meaning.calibration(values, network)
    (cosine,) = pair_cosines(unit_rows(network.embed(images)), [0], [1])
    told = [f"cosine {cosine:.4f} of {first} and {second}"]
    if calibration is None:
        told.append(_meaning.how_to_get_one(values, network))
    else:
        told += [calibration.explain(cosine), calibration.shares(cosine)]
        told += [calibration.choice, calibration.warning]
    return "\n".join(filter(None, told))
