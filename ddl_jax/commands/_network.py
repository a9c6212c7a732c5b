"""What commands that run a network on images share: its flags, aligning, and embedding."""

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from ddl_jax import command_line
from ddl_jax.commands._landmarks import names_of
from ddl_jax.data import recognizer_flags
from ddl_jax.errors import UserError


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""

    def text(name: str, meaning: str) -> None:
        flags.DEFINE_string(name, "", meaning, flag_values=values)

    text("workdir", "A work directory of train.py; --checkpoint is for PyTorch files too.")
    recognizer_flags.define(values)
    text("landmarks", "Five points a face, see docs/data.md: align photos by them.")
    text("detector", "The .onnx file of OpenCV's YuNet: align photos by the faces it finds.")
    flags.DEFINE_integer(
        "batch_size", 256, "Images at a time, on all devices.", lower_bound=1, flag_values=values
    )
    command_line.cache_flag(values)


def read(values: flags.FlagValues, command: str) -> dict[str, Any]:
    """The fields of `training.recognizer.Choice`.

    Raises:
      UserError: no network, two of them, or two ways to align.
    """
    if values.workdir and values.checkpoint:
        raise UserError("--workdir and --checkpoint both name a network; give one")
    if values.landmarks and values.detector:
        raise UserError("--landmarks and --detector both say where faces are; give one")
    if values.workdir:
        values.checkpoint = values.workdir
    fields = recognizer_flags.read(values)
    if fields is None:
        raise UserError(f"--workdir is missing; see python eval.py {command} --help")
    return fields


class Network:
    """A network that embeds what a user points at; made after the cheap checks."""

    def __init__(self, values: flags.FlagValues, fields: dict[str, Any], *images: Any):
        """`images` are all `evaluation.named_images.NamedImages` that it will embed."""
        from ddl_jax import compilation_cache
        from ddl_jax.training.recognizer import Choice, load_recognizer

        self._finder, self._known_as = _finder(values, images)
        compilation_cache.enable()
        self.recognizer = load_recognizer(Choice(**fields))
        self._cache = command_line.embedding_cache(values)
        self._batch_size = values.batch_size

    def embed(self, named: Any, *, flip: bool | None = None) -> Any:
        """The embeddings `[n, D]` of images, aligned as the flags say, all finite.

        Args:
          named: some of the images that it was made for.
          flip: whether the mirror image's is added; None for what the network's evaluations do.
        """
        from ddl_jax.evaluation.embedding import check_finite
        from ddl_jax.evaluation.face_images import FaceImages, unlike_input

        images = named.images
        # A power of two for few images: not a compilation for every number of them.
        batch_size = min(self._batch_size, 1 << (len(images) - 1).bit_length())
        try:
            if self._finder is not None:
                names = [self._known_as.get(file, file) for file in named.files]
                images = FaceImages(images, self._finder, names)
            elif warning := unlike_input(images, self.recognizer.card.input_size):
                print(warning, file=sys.stderr)
            embeddings = self.recognizer.embed(
                images,
                flip=self.recognizer.flip if flip is None else flip,
                batch_size=batch_size,
                cache=self._cache,
            )
        except UserError as error:  # which tells of a setting of training
            told = str(error).replace(", or set config.data.corrupt=skip", "")
            raise UserError(told) from error
        check_finite(embeddings, images)
        return embeddings

    def say_taken(self) -> None:
        """Says what was not computed now."""
        command_line.say_taken(self._cache)


def _finder(values: flags.FlagValues, images: Sequence[Any]) -> tuple[Any, dict[str, str]]:
    """What finds faces, None for nothing, and by which names it knows images, by their files."""
    from ddl_jax.data import survey

    if values.landmarks:
        from ddl_jax.data.landmarks import read_landmarks

        landmarks = read_landmarks(values.landmarks)
        named = [pair for some in images for pair in zip(some.files, some.names)]
        return survey.FromFile(landmarks), names_of(landmarks, named)
    if values.detector:
        from ddl_jax.data.face_detector import YuNet

        return survey.FromDetector(YuNet(values.detector)), {}
    return None, {}
