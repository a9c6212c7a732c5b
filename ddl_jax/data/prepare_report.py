"""What a prepared data set holds and what is wrong with it, as JSON, CSV, Markdown and pictures."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ddl_jax.data.alignment import misfit
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.data.duplicates import equal_groups, near_groups
from ddl_jax.data.picture_grid import picture_grid
from ddl_jax.data.source import Source

_UNLIKE_A_FACE = 0.7  # of `misfit`; profiles stay below
_EXAMPLES = 5
_SAMPLES = (10, 10)  # rows and columns of the contact sheet
_GROUPS = (30, 5)  # groups of duplicates that are drawn, pictures of each
_TURNED = (
    "ATTENTION: some photos are turned upright by their EXIF tag. Landmarks of a tool that does "
    "not turn them, as PIL's open, are in the wrong place: look at these faces."
)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a report is about.

    Attributes:
      source: of the images.
      facts: `[n]` FACTS of the survey.
      kept: `[n]` bool, which of them are written.
      name: of the data set.
      aligned: whether faces were looked for.
    """

    source: Source
    facts: np.ndarray
    kept: np.ndarray
    name: str
    aligned: bool

    @property
    def skipped(self) -> Sequence[str]:
        """Paths of unreadable images that the source itself has left out."""
        return getattr(self.source, "skipped", ())

    @property
    def parts(self) -> Sequence[str]:
        """Names of the sources that were merged, with which paths begin."""
        return getattr(self.source, "parts", ())


# Row numbers of the images with a problem, in groups where they belong together.
Problems = dict[str, list[np.ndarray]]


def write(prepared: Prepared, directory: epath.Path, *, contact_sheet: bool) -> dict[str, Any]:
    """Writes report.json, report.md and problems.csv, and pictures if asked -> the report's facts.

    Args:
      prepared: what to tell of.
      directory: of the data set.
      contact_sheet: whether to draw contact_sheet.jpg and near_duplicates.jpg, which show faces.
    """
    problems = _problems(prepared)
    summary = _summary(prepared, problems)
    (directory / "report.json").write_text(json.dumps(summary, indent=2) + "\n")
    (directory / "report.md").write_text(_markdown(prepared, summary, problems))
    _write_table(directory / "problems.csv", prepared, problems)
    if contact_sheet:
        _draw(prepared, problems, directory)
    return summary


def _problems(prepared: Prepared) -> Problems:
    facts, kept, index = prepared.facts, prepared.kept, prepared.source.index
    written = np.flatnonzero(kept)
    comparable = written[~facts["flat"][written]]
    exact = [written[rows] for rows in equal_groups(facts["digest"][written])]
    hashes = facts["coarse"][comparable], facts["detail"][comparable]
    near = [comparable[rows] for rows in near_groups(*hashes)]
    counts = np.bincount(index.labels[written], minlength=index.classes)
    looked = facts["faces"] >= 0
    single = {
        "unreadable": ~facts["readable"],
        "without_face": facts["readable"] & (facts["faces"] == 0),
        "several_faces": kept & (facts["faces"] > 1),
        "unlike_a_face": kept & looked & (misfit(facts["landmarks"]) > _UNLIKE_A_FACE),
        "flat": kept & facts["flat"],
        "only_image_of_its_identity": kept & (counts[index.labels] == 1),
    }
    found = {
        name: [rows] if len(rows := np.flatnonzero(mask)) else [] for name, mask in single.items()
    }
    # Groups of the very same bytes are not told twice.
    near = [rows for rows in near if len(np.unique(facts["digest"][rows], axis=0)) > 1]
    return found | {"exact_duplicate": exact, "near_duplicate": near}


def _summary(prepared: Prepared, problems: Problems) -> dict[str, Any]:
    facts, kept, index = prepared.facts, prepared.kept, prepared.source.index
    per_identity = np.bincount(index.labels[kept])
    per_identity = per_identity[per_identity > 0]
    lost = np.setdiff1d(index.identities, index.identities[kept])
    names, counts = np.unique(index.domains[kept], return_counts=True)
    sizes, images = _sizes(facts[kept])
    common = np.argsort(-images, kind="stable")[:10]
    unreadable = _count(problems["unreadable"]) + len(prepared.skipped)
    faceless = np.concatenate([np.zeros(0, int), *problems["without_face"]])
    summary = {
        "images": {"found": len(index) + len(prepared.skipped), "written": int(kept.sum())},
        "left_out": {
            "unreadable": unreadable,
            "without_face": int((~kept[faceless]).sum()),
        },
        "identities": {
            "found": index.classes,
            "written": len(per_identity),
            "without_an_image_left": lost.tolist(),
            "with_one_image": int((per_identity == 1).sum()),
            "images_each": {
                "least": int(per_identity.min()),
                "median": float(np.median(per_identity)),
                "most": int(per_identity.max()),
            },
        },
        "domains": dict(zip(names.tolist(), counts.tolist())),
        "sizes": {
            "different": len(sizes),
            "smallest_side": int(sizes.min()),
            "largest_side": int(sizes.max()),
            "most_common": [
                {"height": int(h), "width": int(w), "images": int(n)}
                for (h, w), n in zip(sizes[common], images[common])
            ],
        },
        "turned": int(facts["turned"][kept].sum()),
        "grey": int(facts["grey"][kept].sum()),
        "flat": _count(problems["flat"]),
    }
    for kind in ("exact_duplicate", "near_duplicate"):
        groups = problems[kind]
        across = [rows for rows in groups if len(np.unique(index.labels[rows])) > 1]
        summary[f"{kind}s"] = {
            "groups": len(groups),
            "images": _count(groups),
            "groups_across_identities": len(across),
        }
    if prepared.parts:
        summary["sources"] = _sources(prepared)
    if prepared.aligned:
        summary["faces"] = {
            "one": int((kept & (facts["faces"] == 1)).sum()),
            "several": _count(problems["several_faces"]),
            "none": _count(problems["without_face"]),
            "unlike_a_face": _count(problems["unlike_a_face"]),
        }
    return summary


def _sizes(facts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sizes `[k, 2]` (height, width) that there are, and how many images have each."""
    return np.unique(np.stack([facts["height"], facts["width"]], 1), axis=0, return_counts=True)


def _sources(prepared: Prepared) -> dict[str, Any]:
    """What was written of every merged source: a recognizer wants all faces alike."""
    index, kept = prepared.source.index, prepared.kept
    part_of = np.array([path.split("/", 1)[0] for path in index.paths.tolist()])
    found = {}
    for part in prepared.parts:
        rows = np.flatnonzero(kept & (part_of == part))
        found[part] = {"images": len(rows), "identities": len(np.unique(index.labels[rows]))}
        if len(rows):
            sizes, images = _sizes(prepared.facts[rows])
            height, width = sizes[images.argmax()].tolist()
            found[part] |= {"height": height, "width": width, "of_this_size": int(images.max())}
    return found


def _count(groups: Sequence[np.ndarray]) -> int:
    return sum(map(len, groups))


def _markdown(prepared: Prepared, summary: Mapping[str, Any], problems: Problems) -> str:
    images, identities, sizes = (summary[key] for key in ("images", "identities", "sizes"))
    each = identities["images_each"]
    facts = {
        "images written": f"{images['written']:,} of {images['found']:,}",
        **{f"left out: {_words(k)}": f"{v:,}" for k, v in summary["left_out"].items()},
        "identities written": f"{identities['written']:,} of {identities['found']:,}",
        "identities with one image": f"{identities['with_one_image']:,}",
        "images an identity": f"{each['least']:,} to {each['most']:,}, median {each['median']:g}",
        **{f"domain {name}": f"{count:,}" for name, count in summary["domains"].items()},
        "sides in the source, pixels": f"{sizes['smallest_side']:,} to {sizes['largest_side']:,}",
        "turned upright by their EXIF tag": f"{summary['turned']:,}",
        "grey images": f"{summary['grey']:,}",
        "images of one colour": f"{summary['flat']:,}",
        **{f"faces in a photo: {_words(k)}": f"{v:,}" for k, v in summary.get("faces", {}).items()},
    }
    for kind in ("exact_duplicates", "near_duplicates"):
        found = summary[kind]
        facts[_words(kind)] = (
            f"{found['images']:,} images in {found['groups']:,} groups, "
            f"{found['groups_across_identities']:,} of them across identities"
        )
    lines = [f"# {prepared.name}", "", "| | |", "|---|---:|"]
    lines += [f"| {key} | {value} |" for key, value in facts.items()]
    lines += _sources_told(prepared, summary.get("sources", {}))
    lines += ["", "Most common sizes (height x width, of the source):"]
    lines += [f"* {s['height']}x{s['width']}: {s['images']:,}" for s in sizes["most_common"]]
    if summary["turned"] and prepared.aligned:
        lines += ["", _TURNED]
    lines += ["", "Every image with a problem is in problems.csv; the first of each kind:"]
    lines += _examples(prepared, problems)
    return "\n".join(lines) + "\n"


def _sources_told(prepared: Prepared, sources: Mapping[str, Any]) -> Iterator[str]:
    if sources:
        yield from (
            "",
            "| source | images | identities | most common size |",
            "|---|---:|---:|---:|",
        )
    for name, part in sources.items():
        size = f"{part['height']}x{part['width']}" if part["images"] else "-"
        yield f"| {name} | {part['images']:,} | {part['identities']:,} | {size} |"
    sizes = {(part["height"], part["width"]) for part in sources.values() if part["images"]}
    if len(sizes) > 1 and not prepared.aligned:
        yield ""
        yield (
            "ATTENTION: the merged sources are of different sizes. A recognizer wants all faces "
            "aligned alike: bring them there from the photos, by --landmarks or --detector."
        )


def _examples(prepared: Prepared, problems: Problems) -> Iterator[str]:
    paths = prepared.source.index.paths
    if prepared.skipped:
        yield f"* unreadable: {', '.join(prepared.skipped[:_EXAMPLES])}"
    for kind, groups in problems.items():
        grouped = kind.endswith("duplicate")
        shown = groups[:_EXAMPLES] if grouped else [rows[:_EXAMPLES] for rows in groups]
        for rows in shown:
            more = " ..." if len(rows) > _EXAMPLES else ""
            yield f"* {_words(kind)}: {', '.join(paths[rows[:_EXAMPLES]])}{more}"


def _words(key: str) -> str:
    return key.replace("_", " ")


def _write_table(path: epath.Path, prepared: Prepared, problems: Problems) -> None:
    """`problem,group,path,identity,written`, a line an image; a group for duplicates."""
    index = prepared.source.index
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("problem", "group", "path", "identity", "written"))
    for skipped in prepared.skipped:
        table.writerow(("unreadable", "", skipped, "", "no"))
    for kind, groups in problems.items():
        for group, rows in enumerate(groups):
            number = group if kind.endswith("duplicate") else ""
            for row in rows.tolist():
                written = "yes" if prepared.kept[row] else "no"
                table.writerow((kind, number, index.paths[row], index.identities[row], written))
    path.write_text(text.getvalue())


def _draw(prepared: Prepared, problems: Problems, directory: epath.Path) -> None:
    """Samples of what was written, and the first groups of duplicates, as pictures."""
    builder = tfds.builder_from_directory(directory)
    records = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    place = np.cumsum(prepared.kept) - 1  # of a row of the source
    rows, columns = _SAMPLES
    samples = np.unique(np.linspace(0, len(records) - 1, rows * columns).astype(int))
    _save(
        directory / "contact_sheet.jpg",
        records,
        np.array_split(samples, range(columns, len(samples), columns)),
    )
    count, most = _GROUPS
    groups = [place[group[:most]] for group in problems["near_duplicate"][:count]]
    if groups:
        _save(directory / "near_duplicates.jpg", records, groups)


def _save(path: epath.Path, records: Any, rows: Sequence[np.ndarray]) -> None:
    """Draws records in rows that may be of different lengths."""
    side, columns = 112, max(map(len, rows))
    pictures = np.full((len(rows), columns, side, side, 3), 255, np.uint8)
    for row, numbers in enumerate(rows):
        for column, number in enumerate(numbers.tolist()):
            image = decode_image(records[number]["image"], str(number))
            pictures[row, column] = fit(image, (side, side))
    _, encoded = cv2.imencode(".jpg", picture_grid(pictures)[..., ::-1])
    path.write_bytes(encoded.tobytes())
