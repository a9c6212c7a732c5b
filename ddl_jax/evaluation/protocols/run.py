"""Protocols on a network: embeddings, results, and a look at the order of its channels."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from jax.sharding import Mesh

from ddl_jax import config as config_lib
from ddl_jax.data.source import Source
from ddl_jax.errors import UserError
from ddl_jax.evaluation.embedding import check_finite, embed
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.faces import with_faces
from ddl_jax.evaluation.images import EncodedImage, Images
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.evaluation.similarity import Similarities, pair_cosines, unit_rows
from ddl_jax.models import ModelCard

_PROBE_PAIRS = 250  # of either kind
_CLEARLY = 0.05  # of d', where the order of channels hardly matters


class ProtocolRun(NamedTuple):
    """Results by name, and what a reader must be told at once."""

    results: dict[str, ProtocolResult]
    attention: list[str]


def run_protocols(
    module: nn.Module,
    variables: Any,
    card: ModelCard,
    protocols: Sequence[Protocol],
    settings: config_lib.Evaluation,
    mesh: Mesh,
    cache: EmbeddingCache | None = None,
) -> ProtocolRun:
    """Embeds the images of every protocol, or takes what is kept of it, and evaluates it.

    Raises:
      UserError: an image that cannot be read, or an embedding that is not finite.
    """
    run = ProtocolRun({}, [])
    for protocol in protocols:

        def embedded(images: Images, card: ModelCard, protocol: Protocol = protocol) -> np.ndarray:
            return embed(
                module,
                variables,
                card,
                images,
                mesh=mesh,
                batch_size=settings.batch_size,
                flip=settings.flip,
                apart=protocol.apart,
                cache=cache,
            )

        try:
            embeddings = embedded(protocol.images, card)
        except UserError as error:  # which tells of a setting of training
            told = str(error).replace(", or set config.data.corrupt=skip", "")
            raise UserError(f"{protocol.name}: {told}") from error
        check_finite(embeddings, protocol.images, f"{protocol.name}: ")
        results = protocol.evaluate(embeddings)
        run.results.update(with_faces(results, protocol.images, settings.faces))
        if warning := _probe_colour(protocol, embeddings, card, embedded):
            run.attention.append(warning)
    return run


class _Some:
    """Some images, by number."""

    def __init__(self, images: Images | Source, numbers: np.ndarray):
        self._images, self._numbers = images, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> EncodedImage:
        return self._images[int(self._numbers[number])]


def _probe_colour(protocol: Protocol, embeddings: np.ndarray, card: ModelCard, embedded) -> str:
    """A warning if a sample of pairs is told apart better with the channels the other way round."""
    pairs = protocol.pairs.sample(_PROBE_PAIRS)
    numbers, rows = np.unique([pairs.first, pairs.second], return_inverse=True)
    first, second = rows.reshape(2, -1)
    pairs = PairRows(first, second, pairs.same)
    other = "BGR" if card.colour == "RGB" else "RGB"
    swapped = embedded(_Some(protocol.images, numbers), dataclasses.replace(card, colour=other))
    if not np.isfinite(swapped).all():
        return ""
    own, theirs = (separability(each, pairs) for each in (embeddings[numbers], swapped))
    # d' of two samples of n has a standard error of about sqrt(2 / n), and the same pairs less.
    noise = np.sqrt(2 / min(np.sum(pairs.same), np.sum(~pairs.same)))
    if not theirs - own > max(_CLEARLY * own, 3 * noise):
        return ""
    return (
        f"ATTENTION: {protocol.name}: with {other} channels {len(pairs.same)} sampled pairs are "
        f"told apart better (d' {theirs:.2f}) than with this model's {card.colour} ({own:.2f}); "
        "look at config.model.colour, and at how the images were written"
    )


def separability(embeddings: np.ndarray, pairs: PairRows) -> float:
    """d' of the cosines of genuine and impostor pairs; NaN where neither vary."""
    if embeddings.ndim == 3:  # image and mirror image apart
        embeddings = embeddings.sum(axis=1)
    cosines = pair_cosines(unit_rows(embeddings), pairs.first, pairs.second)
    return Similarities(cosines[pairs.same], cosines[~pairs.same]).d_prime


def protocol_cards(
    protocols: Sequence[Protocol], settings: config_lib.Evaluation
) -> dict[str, Mapping[str, Any]]:
    """`{name: card}`; a card that says nothing about mirror images gets what the settings say."""
    embedding = "image + mirror image" if settings.flip else "image"
    return {protocol.name: {"embedding": embedding} | protocol.card for protocol in protocols}
