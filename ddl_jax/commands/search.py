"""`python eval.py search GALLERY PROBE`: who of a folder of people is on a photo."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from etils import epath

from ddl_jax import command_line, files
from ddl_jax.commands import _meaning, _network
from ddl_jax.errors import UserError

_FORMATS = (".csv", ".json")
_LINES, _IMAGES = 20, 5  # at most, of probes that are in the gallery, and of each one's images


def main(argv: Sequence[str]) -> None:
    """`python eval.py search GALLERY PROBE --workdir=DIR [--top=5] [--out=FILE.csv|.json] [...]`

    Ranks the people of GALLERY, a folder with a sub-folder each or an image each, by their cosine
    with PROBE, an image or a folder of images: that of a person's most similar image. Says what is
    the same person by the thresholds that the run's own evaluation measured. See
    docs/embedding.md.
    """
    values = flags.FlagValues()
    _network.define(values)
    _meaning.define(values)
    flags.DEFINE_integer("top", 5, "People to name.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("out", "", "The table as a file: .csv or .json.", flag_values=values)
    paths = command_line.words(argv, values, main.__doc__)
    if paths is None:
        return
    if len(paths) != 2:
        raise UserError(f"search takes GALLERY and PROBE, not {len(paths)} words; see --help")
    print(_search(values, *paths))


class _Row(NamedTuple):
    """A person that was found for a probe."""

    probe: str
    rank: int
    person: str
    cosine: float
    image: str
    verdict: str


def _search(values: flags.FlagValues, gallery_path: str, probe_path: str) -> str:
    """Searches -> what to tell."""
    choice = _network.read(values, "search")
    _meaning.check(values)
    if values.out:
        files.check_target(values.out, flag="--out", suffixes=_FORMATS)
    from ddl_jax.evaluation.gallery_search import best_people  # after the cheap checks
    from ddl_jax.evaluation.named_images import images_at

    gallery, probe = images_at(gallery_path), images_at(probe_path)
    network = _network.Network(values, choice, gallery, probe)
    calibration = _meaning.calibration(values, network)
    people = _people(gallery_path, gallery.names)
    probe_images, gallery_images = _contents(probe), _contents(gallery)
    found = best_people(
        network.embed(probe),
        network.embed(gallery),
        people,
        k=values.top,
        images=(probe_images, gallery_images),
    )
    rows = _rows(found, probe.names, gallery.names, people, calibration)
    themselves = _themselves(probe.names, probe_images, gallery.names, gallery_images)
    if not rows:
        raise UserError(
            f"{gallery_path} has nothing but {probe_path} itself to compare it with: "
            + themselves[0]
        )
    told = _means(calibration, len(gallery), len(set(people)))
    told = themselves + (told or [_meaning.how_to_get_one(values, network)])
    if values.out:
        _write(values.out, rows, told)
        told.append(f"written to {values.out}")
    network.say_taken()
    return "\n".join([_table(rows), *told])


def _people(gallery_path: str, names: Sequence[str]) -> list[str]:
    """Of a folder the first of its folders, or a lone image's own name."""
    is_folder = epath.Path(gallery_path).is_dir()
    return [name.split("/")[0] if is_folder else name for name in names]


def _contents(named: Any) -> list[int]:
    """A number of every image's bytes: copies and links of a file are one image."""
    from ddl_jax.evaluation.images import image_digests

    return [int.from_bytes(digest[:8], signed=True) for digest in image_digests(named.images)]


def _themselves(
    probes: Sequence[str],
    probe_images: Sequence[int],
    gallery: Sequence[str],
    gallery_images: Sequence[int],
) -> list[str]:
    """Which images of the gallery are a probe: who that is must not be lost by leaving it out."""
    called: dict[int, list[str]] = {}
    for name, image in zip(gallery, gallery_images):
        called.setdefault(image, []).append(name)
    there = [(name, called[image]) for name, image in zip(probes, probe_images) if image in called]
    told = [f"{name} is {_some(names)} of the gallery" for name, names in there[:_LINES]]
    if more := len(there) - len(told):
        told.append(f"and {more:,} more probes are in the gallery")
    return [*told, "No image is compared with itself."] if told else []


def _some(names: Sequence[str]) -> str:
    more = len(names) - _IMAGES
    return " and ".join([", ".join(names[:_IMAGES]), *([f"{more:,} more"] if more > 0 else [])])


def _rows(
    found: Any,
    probes: Sequence[str],
    gallery: Sequence[str],
    people: Sequence[str],
    calibration: Any,
) -> list[_Row]:
    return [
        _Row(
            probes[number],
            place + 1,
            people[found.rows[number, place]],
            float(cosine),
            gallery[found.rows[number, place]],
            calibration.verdict(cosine) if calibration else "",
        )
        for (number, place), cosine in _finite(found.cosines)
    ]


def _finite(cosines: Any) -> Any:
    import numpy as np

    return (each for each in np.ndenumerate(cosines) if np.isfinite(each[1]))


def _means(calibration: Any, images: int, people: int) -> list[str]:
    """What the verdicts mean."""
    if calibration is None:
        return []
    same, different = calibration.reached
    told = [f"same: from {calibration.same:.3f}, which {same}"]
    if missed := calibration.missed():
        told.append(missed)
    if calibration.different is None:
        told.append(f"below it nobody can tell: {different}")
    elif calibration.different != calibration.same or calibration.similarities is not None:
        told.append(f"different: below {calibration.different:.3f}, which {different}")
    if calibration.origin:
        told.append(f"measured on {calibration.origin}")
    told = ["; ".join(told) + "."]
    if calibration.warning:
        told.append(calibration.warning)
    if calibration.far:
        chance = 1 - (1 - calibration.far) ** images
        told.append(
            f"Somebody who is none of these {people:,} people is compared with {images:,} images: "
            f"up to {100 * chance:.2g} % of such searches reach {calibration.same:.3f} by chance."
        )
    return told


def _table(rows: Sequence[_Row]) -> str:
    lines = [("probe", "rank", "person", "cosine", "image", "")]
    for row in rows:
        probe = row.probe if row.rank == 1 else ""
        cosine = f"{row.cosine:.4f}"
        lines.append((probe, str(row.rank), row.person, cosine, row.image, row.verdict))
    widths = [max(map(len, column)) for column in zip(*lines)]
    right = (1, 3)
    return "\n".join(
        "  ".join(
            text.rjust(width) if place in right else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


def _write(out: str, rows: Sequence[_Row], told: Sequence[str]) -> None:
    if out.endswith(".json"):
        content = {"results": [row._asdict() for row in rows], "meaning": list(told)}
        text = json.dumps(content, indent=2) + "\n"
    else:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_Row._fields)
        writer.writerows(row._replace(cosine=f"{row.cosine:.6f}") for row in rows)
        text = file.getvalue()
    with files.written(out, flag="--out") as temporary:
        temporary.write_bytes(text.encode())
