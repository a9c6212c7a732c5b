"""RFW: ten-fold verification for each of four groups, and how far apart they are."""

from __future__ import annotations

import numpy as np
from etils import epath

from ddl_jax.config import ProtocolEntry
from ddl_jax.errors import UserError
from ddl_jax.evaluation.evidence import Evidence
from ddl_jax.evaluation.protocols.images import JoinedImages
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol, check_rows
from ddl_jax.evaluation.protocols.verification import open_verification
from ddl_jax.evaluation.result import ProtocolResult, with_bounds

RACES = ("Caucasian", "Indian", "Asian", "African")


def open_rfw(entry: ProtocolEntry) -> Protocol:
    """Reads `RACE_test.bin` of every race, or `RACE_pairs.txt` and images, below a folder."""
    if entry.variant or entry.second:
        raise UserError("write rfw=FOLDER; it has no variant and no second path")
    folder = epath.Path(entry.path)
    if not folder.is_dir():
        raise UserError(f"no folder {entry.path!r}; give that of RFW's .bin files, or its test/")
    races = [_open_race(folder, race) for race in RACES]
    images = JoinedImages([race.images for race in races])

    def evaluate(embeddings: np.ndarray) -> dict[str, ProtocolResult]:
        check_rows(embeddings, images)
        found: dict[str, ProtocolResult] = {}
        for race, start, end in zip(races, images.starts, images.starts[1:]):
            found |= race.evaluate(embeddings[start:end])
        return found | {"rfw": _over_races(list(found.values()))}

    pairs = [race.pairs for race in races]
    shifted = PairRows(
        np.concatenate([p.first + start for p, start in zip(pairs, images.starts)]),
        np.concatenate([p.second + start for p, start in zip(pairs, images.starts)]),
        np.concatenate([p.same for p in pairs]),
    )
    return Protocol("rfw", images, evaluate, shifted, _card(races))


def _open_race(folder: epath.Path, race: str) -> Protocol:
    lists = [f"{race}_test.bin", f"{race}.bin"]
    lists += [f"txts/{race}/{race}_pairs.txt", f"{race}/{race}_pairs.txt", f"{race}_pairs.txt"]
    found = [folder / path for path in lists if (folder / path).is_file()]
    if not found:
        raise UserError(f"{folder} has none of {', '.join(lists)}; all four races are needed")
    if found[0].suffix == ".bin":
        return open_verification(f"rfw/{race}", str(found[0]))
    roots = [folder / "data" / race, folder / race]
    root = next((str(root) for root in roots if root.is_dir()), None)
    if root is None:
        raise UserError(f"{folder} has no folder data/{race} or {race} with the images")
    return open_verification(f"rfw/{race}", str(found[0]), root)


def _over_races(results: list[ProtocolResult]) -> ProtocolResult:
    drawn = np.stack([result.evidence.drawn["accuracy"] for result in results])
    accuracies = drawn[:, 0]
    metrics = {
        "accuracy_mean_of_races": float(np.mean(accuracies)),
        "accuracy_std_of_races": float(np.std(accuracies, ddof=1)),
        "accuracy_lowest_of_races": float(np.min(accuracies)),
    }
    # Of the mean only: percentiles of a deviation, or of the least of four, do not hold the truth.
    values = {"accuracy_mean_of_races": np.mean(drawn, axis=0)}
    each = dict.fromkeys(result.evidence.rests_on for result in results)
    evidence = Evidence(" or ".join(each) + " of each race", values)
    return ProtocolResult(with_bounds(metrics, values), evidence=evidence)


def _card(races: list[Protocol]) -> dict[str, str]:
    cards = [race.card for race in races]
    parts = {
        key: "; ".join(f"{race}: {card[key]}" for race, card in zip(RACES, cards))
        for key in ("pairs", "data", "error bars")
    }
    return {
        **cards[0],
        **parts,
        "over races": "mean, and deviation of the four accuracies with n - 1",
    }
