"""From any source to a checked TFDS data set, aligned where landmarks are known."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from tqdm import tqdm

import ddl_jax
from ddl_jax.data import prepare_report, tfds_shards
from ddl_jax.data.alignment import template_points
from ddl_jax.data.face_cut import FaceCut
from ddl_jax.data.source import Source, make_index
from ddl_jax.data.survey import FACTS, FaceFinder, survey
from ddl_jax.data.tfds_source import DATA_CARD
from ddl_jax.errors import UserError
from ddl_jax.files import check_local

WITHOUT_FACE = ("leave_out", "fit", "refuse")


@dataclasses.dataclass(frozen=True)
class Faces:
    """How photos become aligned faces.

    Attributes:
      finder: of the landmarks.
      cut: how a face is cut out.
      without_face: what becomes of a photo in which no face is known: "leave_out"; "fit", the whole
        photo scaled to cover the size; or "refuse" all.
      origin: of the landmarks, for the data card.
    """

    finder: FaceFinder
    cut: FaceCut = FaceCut()
    without_face: str = "leave_out"
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.without_face not in WITHOUT_FACE:
            raise UserError(
                f"without_face is {self.without_face!r}; choose one of {', '.join(WITHOUT_FACE)}"
            )


def target(out: str, name: str) -> epath.Path:
    """Where the data set `name` under `out` will stand.

    Raises:
      UserError: the name cannot be one of TFDS, or is taken; `out` is in a bucket.
    """
    check_local(out)
    if not (name.isidentifier() and name.isascii() and not name.startswith("_")):
        raise UserError(f"--name is {name!r}; use ASCII letters, digits and '_', a letter first")
    directory = epath.Path(out) / name / tfds_shards.VERSION
    if directory.exists():
        raise UserError(f"{directory} exists; choose another --name or remove it")
    return directory


def prepare(
    source: Source,
    out: str,
    name: str,
    *,
    faces: Faces | None = None,
    corrupt: str = "refuse",
    images_per_shard: int = 10_000,
    workers: int = 1,
    contact_sheet: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> epath.Path:
    """Writes a source as the TFDS data set `name` (split train) under `out`, with a report.

    Every image is looked at first; then what is wanted is written, in shards. Both are kept, so
    that a call that was stopped goes on when it is made again. A program that calls this with
    several workers needs the usual `if __name__ == "__main__":`.

    Args:
      source: any.
      out: a directory for data sets.
      name: of this one.
      faces: how photos are aligned; None writes the images' bytes as they are.
      corrupt: "refuse" unreadable images, or "skip" and list them.
      images_per_shard: images in a file.
      workers: processes.
      contact_sheet: whether to draw samples and near duplicates; the pictures show faces.
      origin: of the source, for the data card.

    Returns:
      The directory of the data set, with `report.md`, `report.json`, `problems.csv` and
      `data_card.json` beside the shards.

    Raises:
      UserError: the name is taken, an image is not readable or has no face and that is refused, or
        nothing is left to write.
    """
    directory = target(out, name)
    # Both steps are kept under what they depend on: other settings never meet them.
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    try:
        finder = faces.finder if faces else None
        if finder:
            finder.check_paths(source.index.paths)
        seen = _key(FACTS, source.index.fingerprint(), finder and finder.fingerprint())
        facts = survey(source, unfinished / f"survey-{seen}", finder=finder, workers=workers)
        kept = _kept(source, facts, faces, corrupt)
        plan = _plan(source, facts, kept, faces, images_per_shard)
        rows = hashlib.sha256(plan.rows.tobytes()).hexdigest()
        wanted = _key(seen, rows, images_per_shard, plan.cut)
        shards, notes = unfinished / f"shards-{wanted}", unfinished / f"notes-{wanted}"
        sums = _write(source, plan, name, shards, notes, workers)
        whole = prepare_report.Prepared(source, facts, kept, name, aligned=bool(faces))
        summary = prepare_report.write(whole, shards, contact_sheet=contact_sheet)
        card = _card(source, plan, sums, faces, origin, summary)
        (shards / DATA_CARD).write_text(json.dumps(card, indent=2) + "\n")
        shards.rename(directory)
        unfinished.rmtree()
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from error
    return directory


def _write(
    source: Source,
    plan: tfds_shards.Plan,
    name: str,
    shards: epath.Path,
    notes: epath.Path,
    workers: int,
) -> np.ndarray:
    """Makes a directory of the shards a TFDS data set -> `[m]` checksums of its images."""
    with tqdm(total=len(plan.rows), unit=" images", desc="writing", disable=None) as bar:
        for count in tfds_shards.write_shards(source, plan, name, shards, notes, workers=workers):
            bar.update(count)
    for part in shards.glob(".*"):  # of a run that was killed
        part.unlink()
    tfds_shards.write_metadata(plan, name, shards, "Faces; see data_card.json and report.md.")
    return tfds_shards.checksums(plan, notes)


def _key(*what: Any) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def _kept(source: Source, facts: np.ndarray, faces: Faces | None, corrupt: str) -> np.ndarray:
    """Which images are written -> `[n]` bool."""
    if corrupt == "refuse":
        advice = "mend or remove them, or give --corrupt=skip"
        _refuse(source, ~facts["readable"], "cannot be read", advice)
    kept = facts["readable"].copy()
    if not kept.any():
        raise UserError(f"none of the {len(kept)} images can be read")
    if faces is None:
        return kept
    faceless = kept & (facts["faces"] == 0)
    if faceless[kept].all():
        raise UserError(
            f"in none of the {kept.sum()} images is a face found, the first is "
            f"{str(source.index.paths[0])!r}"
        )
    if faces.without_face == "refuse":
        advice = "add landmarks, or choose --without_face=leave_out or fit"
        _refuse(source, faceless, "have no face", advice)
    return kept & ~faceless if faces.without_face == "leave_out" else kept


def _refuse(source: Source, rows: np.ndarray, what: str, advice: str) -> None:
    if rows.any():
        first = source.index.paths[np.argmax(rows)]
        raise UserError(f"{rows.sum()} images {what}, the first is {first}; {advice}")


def _plan(
    source: Source,
    facts: np.ndarray,
    kept: np.ndarray,
    faces: Faces | None,
    images_per_shard: int,
) -> tfds_shards.Plan:
    """Labels are numbered anew where an identity has lost all its images."""
    rows = np.flatnonzero(kept)
    _, labels = np.unique(source.index.labels[rows], return_inverse=True)
    return tfds_shards.Plan(
        rows=rows,
        labels=labels,
        landmarks=facts["landmarks"][rows],
        images_per_shard=images_per_shard,
        cut=faces.cut if faces else None,
    )


def _card(
    source: Source,
    plan: tfds_shards.Plan,
    sums: np.ndarray,
    faces: Faces | None,
    origin: Mapping[str, Any] | None,
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """What a reader must know of the data: where they come from and what was done to them."""
    index, rows = source.index, plan.rows
    columns = (index.identities, index.paths, index.domains)
    written = make_index(*(column[rows].tolist() for column in columns), sums.tolist())
    card = {
        "images": len(rows),
        "identities": summary["identities"]["written"],
        "domains": summary["domains"],
        "fingerprint": dataclasses.replace(written, labels=plan.labels).fingerprint(),
        "source": dict(origin or {}) | {"images": len(index), "fingerprint": index.fingerprint()},
        "left_out": summary["left_out"],
        "alignment": None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "ddl_jax": ddl_jax.__version__,
    }
    if faces:
        points = template_points(faces.cut.template, faces.cut.size)
        card["alignment"] = dataclasses.asdict(faces.cut) | {
            "points": np.round(points, 4).tolist(),
            "without_face": faces.without_face,
            "landmarks": dict(faces.origin) | {"fingerprint": faces.finder.fingerprint()},
        }
    return card
