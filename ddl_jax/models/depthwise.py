"""Depthwise convolution, in the form that is fast on the platform it runs on.

XLA's grouped convolution is a good kernel on accelerators and a very slow one on CPU. There, every
tap of the kernel is a shifted copy of the image times one number a channel: a sum of elementwise
products that XLA fuses into one pass. docs/benchmarks.md says what each was measured at.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from ddl_jax.models.varying import vary_together


def depthwise_convolution(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0
) -> jax.Array:
    r"""Convolves every channel with a kernel of its own.

    .. math:: y_{b,h,w,c} = \sum_{i,j} x_{b,\, sh + i - p,\, sw + j - p,\, c} \, k_{i,j,c}

    Args:
      x: `[B,H,W,C]`.
      kernel: `[h,w,C]`.
      stride: s, along both axes.
      padding: p, zeros on every side; less than the kernel's size.

    Returns:
      `[B,H',W',C]`, `H' = (H + 2p - h) // s + 1`. Differentiable in reverse mode only.
    """
    return _convolve(*vary_together(x, kernel), stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x, kernel, stride, padding):
    pads = ((padding, padding), (padding, padding))
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(shifted_sum, stride=stride, pads=pads),
        default=functools.partial(grouped_convolution, stride=stride, pads=pads),
    )


def _forward(x, kernel, stride, padding):
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, saved, dy):
    pads = ((padding, padding), (padding, padding))

    def by_library(x, kernel, dy):
        convolve = functools.partial(grouped_convolution, stride=stride, pads=pads)
        return jax.vjp(convolve, x, kernel)[1](dy)

    def by_shifts(x, kernel, dy):
        return (
            _image_gradient(dy, kernel, x.shape, stride, padding),
            _kernel_gradient(x, dy, kernel, stride, pads),
        )

    return lax.platform_dependent(*saved, dy, cpu=by_shifts, default=by_library)


_convolve.defvjp(_forward, _backward)

_Pads = tuple[tuple[int, int], tuple[int, int]]  # zeros before and after, for both axes


def grouped_convolution(x: jax.Array, kernel: jax.Array, *, stride: int, pads: _Pads) -> jax.Array:
    """`depthwise_convolution` as the library's convolution with as many groups as channels."""
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def shifted_sum(
    x: jax.Array, kernel: jax.Array, *, stride: int, pads: _Pads, dilation: int = 1
) -> jax.Array:
    """`depthwise_convolution` as a sum of shifted products.

    `dilation` puts dilation - 1 zeros between the rows and columns of x first.
    """
    padded = _padded(x, pads, dilation)
    height, width = kernel.shape[:2]
    taps = _taps(padded, height, width, stride)
    return sum(tap * kernel[i, j][None, None, None] for (i, j), tap in taps)


def _padded(x: jax.Array, pads: _Pads, dilation: int = 1) -> jax.Array:
    config = ((0, 0, 0), *((low, high, dilation - 1) for low, high in pads), (0, 0, 0))
    # Kept as an array of its own: fused into the taps, every one would ask "outside?" anew.
    return lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), config))


def _taps(padded: jax.Array, height: int, width: int, stride: int):
    """`((i, j), x shifted by i and j)` for every number of a kernel; x is `[..., H, W, C]`."""
    rows, columns = padded.shape[-3:-1]
    for i in range(height):
        for j in range(width):
            # The last window ends within the image.
            last = rows - height + i + 1, columns - width + j + 1
            yield (i, j), padded[..., i : last[0] : stride, j : last[1] : stride, :]


def _image_gradient(dy, kernel, shape, stride, padding):
    """A convolution again: of the gradient, spread out by the stride, with the kernel reversed."""

    def pads(size: int, length: int, count: int) -> tuple[int, int]:
        left_over = (length + 2 * padding - size) - (count - 1) * stride
        return size - 1 - padding, size - 1 - padding + left_over

    both = tuple(map(pads, kernel.shape[:2], shape[1:3], dy.shape[1:3]))
    return shifted_sum(dy, kernel[::-1, ::-1], stride=1, pads=both, dilation=stride)


def _kernel_gradient(x, dy, kernel, stride, pads):
    """Image by image: one image and its gradient stay in the cache while all taps pass over it."""
    height, width, channels = kernel.shape
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def add(total, one):
        image, gradient = one[0].astype(wide), one[1].astype(wide)
        taps = _taps(image, height, width, stride)
        return total + jnp.stack([jnp.sum(tap * gradient, (0, 1)) for _, tap in taps]), None

    # The sum varies over a shard_map's devices as what is added to it does.
    total, _ = vary_together(jnp.zeros((height * width, channels), wide), dy)
    total, _ = lax.scan(add, total, (_padded(x, pads), dy))
    return total.reshape(kernel.shape).astype(kernel.dtype)
