"""Unit vectors and cosines that stay finite for every norm from 0 to 1e15."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_shapes

# Below this norm a vector has no usable direction: 1/norm would carry gradients of 1e12 and more.
SMALLEST_NORM = 1e-12


def at_least_float32(x: jax.Array) -> jax.Array:
    """The array in float32 or wider; bfloat16 and float16 are widened, float64 is kept."""
    x = jnp.asarray(x)  # numpy's float64 becomes what jax has
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def unit_vectors(vectors: jax.Array) -> jax.Array:
    r"""Scales every vector to Euclidean length 1.

    .. math:: \hat x = x / \lVert x \rVert_2

    Args:
      vectors: `[..., D]`, any norm from 0 to 1e15.

    Returns:
      `[..., D]` in float32 or wider. A vector of norm below 1e-12 has no direction: it gives the
      zero vector, with gradient zero.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> losses.unit_vectors(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
      [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    x = at_least_float32(vectors)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    # Dividing by the largest entry first keeps the sum of squares in [1, D]: 1e20 squared would
    # leave float32. The result does not depend on this factor, so its gradient is rightly zero.
    x = x / jnp.where(largest > 0, largest, 1.0)
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    # The inner where keeps the untaken branch finite too: 0 * inf in a gradient is NaN.
    has_direction = largest * jnp.sqrt(jax.lax.stop_gradient(squares)) >= SMALLEST_NORM
    return jnp.where(has_direction, x * jax.lax.rsqrt(jnp.where(has_direction, squares, 1.0)), 0.0)


def lengths(vectors: jax.Array) -> jax.Array:
    """Euclidean length of every vector.

    Args:
      vectors: `[..., D]`.

    Returns:
      `[...]` in float32 or wider. A length below 1e-12 is given as 0, with gradient zero: that of
      the square root is infinite there.

    Examples:
      >>> import jax.numpy as jnp
      >>> lengths(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
      [5.0, 0.0]
    """
    x = at_least_float32(vectors)
    # Squares of 1e20 leave float32: the largest entry is taken out first, and put back after.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1))
    scale = jnp.where(largest >= SMALLEST_NORM, largest, 1.0)
    squares = jnp.sum((x / scale[..., None]) ** 2, axis=-1)
    has_length = scale * jnp.sqrt(jax.lax.stop_gradient(squares)) >= SMALLEST_NORM
    return jnp.where(has_length, scale * jnp.sqrt(jnp.where(has_length, squares, 1.0)), 0.0)


def cosine_logits(
    embeddings: jax.Array,
    class_centers: jax.Array,
    *,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    r"""Cosine of every embedding with every class centre.

    .. math:: \cos\theta_{ij} = \frac{x_i \cdot w_j}{\lVert x_i \rVert \lVert w_j \rVert}

    Args:
      embeddings: `[B, D]`, not normalised.
      class_centers: `[C, D]`, not normalised. Or `[C, M, D]` with M sub-centres a class: the
        cosine of a class is then the largest of its sub-centres (Deng et al., Sub-center ArcFace,
        ECCV 2020).
      precision: of the matrix product, as in `jax.numpy.matmul`. None is the accelerator's default,
        which may round the unit vectors (TF32, bfloat16); sums are in float32 always.

    Returns:
      `[B, C]` cosines. Rounding may put them beyond +-1 by an ulp or two; the margins expect that.

    Raises:
      AssertionError: the ranks are not 2 or the embedding sizes differ.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> losses.cosine_logits(jnp.array([[2.0, 0.0]]), 5.0 * jnp.eye(2)).tolist()
      [[1.0, 0.0]]
    """
    of_classes = "C M D" if jnp.ndim(class_centers) == 3 else "C D"
    check_shapes(embeddings=(embeddings, "B D"), class_centers=(class_centers, of_classes))
    return cosine_of_unit_rows(unit_vectors(embeddings), class_centers, precision=precision)


def cosine_of_unit_rows(
    unit_rows: jax.Array, class_centers: jax.Array, *, precision: jax.lax.PrecisionLike
) -> jax.Array:
    """`cosine_logits` of rows that are of length 1 already.

    The products are divided by the centres' lengths, which is less work than to divide the centres.
    """
    centers = at_least_float32(class_centers).reshape(-1, class_centers.shape[-1])
    norms = lengths(centers)
    inverse = jnp.where(norms > 0, 1.0 / jnp.where(norms > 0, norms, 1.0), 0.0)
    cosine = jnp.matmul(unit_rows, centers.T, precision=precision) * inverse[None, :]
    if class_centers.ndim == 2:
        return cosine
    return jnp.max(cosine.reshape(len(unit_rows), *class_centers.shape[:2]), axis=2)
