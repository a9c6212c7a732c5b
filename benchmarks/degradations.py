"""Would degradations be cheaper as jitted JAX on the device than in the data workers?

    python -m benchmarks.degradations [--batch=128] [--rounds=5]

Does `blur:0.5..2+resize:12..32+noise:1..6`, the preset `cctv` without its JPEG, to batches of faces
of 112x112: by OpenCV, image by image, as worker processes do it, and as one jitted function of the
batch on JAX's first device, with the same borders and kernels. Prints images a second of processor
time (all threads) and by the clock, and the ratio of the two ways. On an accelerator the clock
alone counts, and what it says is taken from the training step.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from ddl_jax.data.augment import Augment
from ddl_jax.data.degradations.recipe import parse_recipe
from ddl_jax.data.synthetic_faces.render import render_identity

_BATCH = flags.DEFINE_integer("batch", 128, "Images of a batch.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Times each way is measured, in turns; medians.")
_BATCHES = flags.DEFINE_integer("batches", 10, "Batches of a round.")

_RECIPE = "blur:0.5..2+resize:12..32+noise:1..6"
_SIDE, _SMALL = 112, 32  # pixels of a picture, and of the largest small one
_REACH = 6  # three times the largest sigma
NEAREST, LINEAR, CUBIC, AREA = range(4)


def main(_) -> None:
    faces = [view[2] for n in range(8) for view in render_identity(0, n, {"easy": 1}, _SIDE)]
    images = np.stack([faces[n % len(faces)] for n in range(_BATCH.value)])
    augment = Augment(flip=False, made={"far": parse_recipe(_RECIPE)})
    program = jax.jit(degrade_batch)

    def by_workers(step: int) -> None:
        np.stack([augment([image], ["far"], step, row)[0] for row, image in enumerate(images)])

    def by_jax(step: int) -> None:
        program(images, jax.random.key(step)).block_until_ready()

    start = time.perf_counter()
    by_jax(0)
    print(f"compiled in {time.perf_counter() - start:.1f} s; {jax.devices()[0].device_kind}")
    by_workers(0)
    rates = {by_workers: [], by_jax: []}
    for _ in range(_ROUNDS.value):
        for way, found in rates.items():
            found.append(_rates(way))
    for what, place in (("second of processor time", 0), ("second by the clock", 1)):
        ours, theirs = (statistics.median(r[place] for r in found) for found in rates.values())
        print(f"images a {what}: OpenCV {ours:.0f}, JAX {theirs:.0f}, {theirs / ours:.2f} times")


def _rates(way: Callable[[int], None]) -> tuple[float, float]:
    used, clock = time.process_time(), time.perf_counter()
    for step in range(_BATCHES.value):
        way(step)
    images = _BATCH.value * _BATCHES.value
    return images / (time.process_time() - used), images / (time.perf_counter() - clock)


def degrade_batch(images: jax.Array, key: jax.Array) -> jax.Array:
    """`[b, 112, 112, 3]` uint8, each image by draws of its own."""
    keys = jax.random.split(key, len(images))
    return jax.vmap(_degrade_by_chance)(images, keys)


def _degrade_by_chance(image: jax.Array, key: jax.Array) -> jax.Array:
    strengths, kernels, noise = jax.random.split(key, 3)
    sigma, side, deviation = jax.random.uniform(strengths, 3) * jnp.array([1.5, 20, 5])
    down, up = jax.random.randint(kernels, (2,), 0, jnp.array([4, 3]))
    errors = jax.random.normal(noise, (_SMALL, _SMALL, 3)) * (deviation + 1)
    return degrade(image, sigma + 0.5, jnp.round(side + 12), down, up, errors)


def degrade(image, sigma, side, down, up, errors) -> jax.Array:
    """One image `[112, 112, 3]`: blurred, shrunk to `side` by the kernel `down`, `errors` added,
    and enlarged by `up`. Every step is a product with a matrix on either side."""
    image = _separable(_blurring(sigma), image.astype(jnp.float32))
    kernels = _resizing(_SIDE, _SMALL, _SIDE / side)
    image = _separable(jnp.stack(kernels)[down], image) + errors
    kernels = _resizing(_SMALL, _SIDE, side / _SIDE, last=side - 1)[:AREA]
    return _separable(jnp.stack(kernels)[up], _grey_levels(image)).astype(jnp.uint8)


def _separable(matrix: jax.Array, image: jax.Array) -> jax.Array:
    return _grey_levels(jnp.einsum("ij,jkc,lk->ilc", matrix, image, matrix))


def _grey_levels(image: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(image), 0, 255)


def _blurring(sigma: jax.Array) -> jax.Array:
    """A Gaussian, mirrored at the borders without repeating them, as `cv2.sepFilter2D` does."""
    taps = np.arange(-_REACH, _REACH + 1)
    weights = jnp.where(abs(taps) <= jnp.ceil(3 * sigma), jnp.exp(-(taps**2) / 2 / sigma**2), 0)
    places = abs(np.arange(_SIDE)[:, None] + taps)
    places = np.where(places < _SIDE, places, 2 * (_SIDE - 1) - places)
    return _rows(places, jnp.broadcast_to(weights / weights.sum(), places.shape), _SIDE)


def _resizing(size: int, out: int, factor: jax.Array, last: jax.Array | None = None):
    """`[out, size]` for each kernel of `cv2.resize`; `last` is the last pixel, if not all count."""
    last = size - 1 if last is None else last
    centre = (np.arange(out) + 0.5) * factor - 0.5
    taps = jnp.floor(centre)[:, None] + np.arange(-1, 3)[None]
    far = abs(taps - centre[:, None])
    places = jnp.clip(taps, 0, last).astype(int)
    cubic = jnp.where(
        far <= 1,
        1.25 * far**3 - 2.25 * far**2 + 1,
        -0.75 * far**3 + 3.75 * far**2 - 6 * far + 3,
    )
    nearest = jnp.clip(jnp.floor(np.arange(out) * factor), 0, last).astype(int)
    starts, pixels = (np.arange(out) * factor)[:, None], np.arange(size)[None]
    area = jnp.minimum(starts + factor, pixels + 1) - jnp.maximum(starts, pixels)
    return (
        _rows(nearest[:, None], jnp.ones((out, 1)), size),
        _rows(places, jnp.maximum(1 - far, 0), size),
        _rows(places, cubic, size),
        jnp.maximum(area, 0) / factor,
    )


def _rows(places: jax.Array, weights: jax.Array, size: int) -> jax.Array:
    """A matrix whose row i has these weights in these columns."""
    return jnp.sum(jax.nn.one_hot(places, size) * weights[..., None], axis=1)


if __name__ == "__main__":
    app.run(main)
