"""What a network expects of its images, kept beside its weights."""

import dataclasses
import reprlib
import sys
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp

from ddl_jax.errors import UserError

COLOURS = ("RGB", "BGR")
# The fields of a card that say what becomes of pixels.
PREPROCESSING = ("colour", "mean", "deviation")


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """Name, input and output of a trained network.

    Attributes:
      network: a name `create_backbone` knows.
      input_size: `(height, width)` in pixels.
      colour: channel order the network was trained on, "RGB" or "BGR".
      mean, deviation: per channel in that order, in pixel units of 0..255:
        `normalised = (pixel - mean) / deviation`.
      embedding_size: length of an embedding.
      source: where the weights come from, free text: the file, or the run, that the first run of a
        chain began with.
      sha256: of the file they were read from, in hexadecimal digits; empty where there is none.

    Raises:
      UserError: a value that no network can have.
    """

    network: str
    input_size: tuple[int, int] = (112, 112)
    colour: str = "RGB"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    deviation: tuple[float, float, float] = (127.5, 127.5, 127.5)
    embedding_size: int = 512
    source: str = ""
    sha256: str = ""

    def __post_init__(self):
        # JSON brings lists; tuples keep the card hashable and equal to the one written.
        for field in ("network", "source", "sha256"):
            if not isinstance(getattr(self, field), str):
                raise UserError(f"model card: {field} is {getattr(self, field)!r}, use a text")
        for field in ("input_size", "mean", "deviation"):
            object.__setattr__(self, field, _as_tuple(field, getattr(self, field)))
        if self.colour not in COLOURS:
            raise UserError(f"model card: colour is {self.colour!r}, use 'RGB' or 'BGR'")
        if len(self.input_size) != 2 or not all(_is_size(n) for n in self.input_size):
            raise UserError(
                f"model card: input_size is {self.input_size!r}, use (height, width) in pixels"
            )
        if not _is_size(self.embedding_size):
            raise UserError(
                f"model card: embedding_size is {self.embedding_size!r}, "
                "use a positive whole number"
            )
        for field in ("mean", "deviation"):
            _check_channels(field, getattr(self, field))
        if min(self.deviation) <= 0:
            raise UserError(f"model card: deviation is {self.deviation!r}, use positive numbers")

    def normalise(self, images: jax.Array) -> jax.Array:
        """Turns RGB pixels into what the network takes.

        Args:
          images: `[...,H,W,3]` RGB, 0..255, uint8 as a rule, of the card's input size.

        Returns:
          `[...,H,W,3]` float32 in the card's channel order, `(pixel - mean) / deviation`.

        Raises:
          UserError: images of another size: a linear layer would take 96x112 in place of 112x96.
        """
        expected = (*self.input_size, 3)
        if jnp.shape(images)[-3:] != expected:
            raise UserError(
                f"images are {jnp.shape(images)}, expected (..., {', '.join(map(str, expected))}): "
                "pixels of the model card's input_size, colours last"
            )
        pixels = jnp.asarray(images).astype(jnp.float32)
        if self.colour == "BGR":
            pixels = pixels[..., ::-1]
        leading = tuple(range(pixels.ndim - 1))
        mean = jnp.expand_dims(jnp.array(self.mean, jnp.float32), leading)
        deviation = jnp.expand_dims(jnp.array(self.deviation, jnp.float32), leading)
        return (pixels - mean) / deviation

    def to_json(self) -> dict[str, Any]:
        """The card as a dict that `json.dumps` takes."""
        as_lists = {"input_size", "mean", "deviation"}
        card = dataclasses.asdict(self)
        return {key: list(value) if key in as_lists else value for key, value in card.items()}

    @classmethod
    def from_json(cls, card: Any) -> Self:
        """The card of a `to_json` dict; absent fields take their defaults.

        Raises:
          UserError: no dict, an unknown field, no network, or a bad value.
        """
        if not isinstance(card, Mapping):
            raise UserError(f"model card: is {reprlib.repr(card)}, use an object with its fields")
        fields = [field.name for field in dataclasses.fields(cls)]
        for key in card:
            if key not in fields:
                raise UserError(f"model card: unknown field {key!r}, use {', '.join(fields)}")
        if "network" not in card:
            raise UserError("model card: no field 'network', give the name of the backbone")
        return cls(**card)


def _as_tuple(field: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise UserError(f"model card: {field} is {value!r}, use a list of numbers")
    return tuple(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_channels(field: str, values: tuple[Any, ...]) -> None:
    if len(values) != 3 or not all(_is_number(value) for value in values):
        told = reprlib.repr(values)
        raise UserError(f"model card: {field} is {told}, use three finite numbers")


def _is_number(value: Any) -> bool:
    # Of JSON's whole numbers beyond every float too, over which math.isfinite trips.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max
