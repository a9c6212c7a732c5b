"""Images that a user points at: a file, a folder however it is laid out, a verification set."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from ddl_jax.data.image_folder import find_images
from ddl_jax.data.source import Source, natural_key
from ddl_jax.errors import UserError
from ddl_jax.evaluation.images import Images
from ddl_jax.evaluation.protocols.images import EncodedImages, ImageFiles, JoinedImages
from ddl_jax.files import is_remote
from ddl_jax.interop import read_verification_bin


@dataclasses.dataclass(frozen=True)
class NamedImages:
    """Images, and what is known of them.

    Attributes:
      images: the images.
      columns: `[n]` each: `name`; `identity` and `label`, its number, where there are people;
        `domain` of a data set; `same` of a verification set: whether the image's pair is of one
        person.
      files: `[n]` the path of each as the user wrote it, folder and name; what has none is called
        by its name.
    """

    images: Images
    columns: Mapping[str, np.ndarray]
    files: Sequence[str]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> list[str]:
        """What the images are called."""
        return self.columns["name"].tolist()


def images_at(path: str) -> NamedImages:
    """Opens what a path leads to.

    Args:
      path: an image, which is then called as it is here; a folder, searched at any depth, whose
        sub-folders are people if all images are in one; or a verification set, `.bin`.

    Raises:
      UserError: nothing there, or no image in it.
    """
    place = epath.Path(path)
    if not place.exists():
        raise UserError(f"no {path!r}; give an image, a folder of images or a .bin")
    if path.endswith(".bin"):
        encoded, same = read_verification_bin(path)
        images = EncodedImages(encoded, place.name)
        names = np.array([f"{place.name} image {number}" for number in range(len(encoded))])
        return NamedImages(images, {"name": names, "same": np.repeat(same, 2)}, names.tolist())
    if not place.is_dir():
        root, name = (os.fspath(place.parent), place.name) if is_remote(path) else ("", path)
        return NamedImages(ImageFiles(root, [name]), {"name": np.array([name])}, [path])
    names = find_images(path)
    if not names:
        raise UserError(f"{path} holds no image; give one, or a folder of images at any depth")
    columns = {"name": np.array(names)} | _people(names)
    return NamedImages(ImageFiles(path, names), columns, [os.path.join(path, n) for n in names])


def _people(names: list[str]) -> dict[str, np.ndarray]:
    if not all("/" in name for name in names):
        return {}
    identities = [name.split("/")[0] for name in names]
    number = {each: i for i, each in enumerate(sorted(set(identities), key=natural_key))}
    labels = np.array([number[each] for each in identities], np.int64)
    return {"identity": np.array(identities), "label": labels}


def images_of(source: Source) -> NamedImages:
    """All images of a data set."""
    index = source.index
    columns = {
        "name": index.paths,
        "identity": index.identities,
        "label": index.labels,
        "domain": index.domains,
    }
    return NamedImages(source, columns, index.paths.tolist())


def joined(parts: Sequence[NamedImages]) -> NamedImages:
    """The images of several, one after the other, with their names alone."""
    names = np.concatenate([part.columns["name"] for part in parts])
    files = [file for part in parts for file in part.files]
    return NamedImages(JoinedImages([part.images for part in parts]), {"name": names}, files)
