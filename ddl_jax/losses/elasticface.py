"""ElasticFace: a margin drawn anew for every row."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_option, check_range
from ddl_jax.losses.margin import BEYOND_PI, Margin, MarginInputs, angular_target, margin_logits


def elasticface_margin(
    *,
    kind: str = "arcface",
    margin: float | None = None,
    deviation: float = 0.05,
    scale: float = 64.0,
    assignment: str = "random",
    beyond_pi: str = "none",
) -> Margin:
    """The randomly drawn margin as a `Margin`, which needs a `key`; see `elasticface_logits`."""
    check_option("kind", kind, ("arcface", "cosface"))
    check_option("assignment", assignment, ("random", "ranked", "released"))
    check_option("beyond_pi", beyond_pi, BEYOND_PI)
    mean = {"arcface": 0.5, "cosface": 0.35}[kind] if margin is None else margin
    check_range("margin", mean, 0.0, jnp.pi if kind == "arcface" else 2.0)
    check_range("deviation", deviation, 0.0)
    check_range("scale", scale, 1e-9)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        if inputs.key is None:
            raise ValueError("elasticface got no key; give key=, a new one for every batch")
        drawn = mean + deviation * jax.random.normal(inputs.key, cosine.shape, cosine.dtype)
        if assignment != "random":
            easiest_first = jnp.argsort(-jax.lax.stop_gradient(cosine))
            # The easiest row gets the smallest margin: the place of a row in the order. The
            # released code takes the order itself, which is its inverse.
            places = easiest_first if assignment == "released" else jnp.argsort(easiest_first)
            drawn = jnp.sort(drawn)[places]
        return angular_target(cosine, drawn, beyond_pi) if kind == "arcface" else cosine - drawn

    return Margin(target, scale=scale)


def elasticface_logits(
    cosine: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    kind: str = "arcface",
    margin: float | None = None,
    deviation: float = 0.05,
    scale: float = 64.0,
    assignment: str = "random",
    beyond_pi: str = "none",
) -> jax.Array:
    r"""ElasticFace: ArcFace or CosFace with a margin drawn for every row (Boutros et al. 2022).

    .. math::
      s \cos(\theta_y + E(m, \sigma)) \quad\text{or}\quad s (\cos\theta_y - E(m, \sigma)),
      \qquad E \sim \mathcal{N}(m, \sigma)

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label gets no margin.
      key: a random key, another one for every batch. The same key draws the same margins.
      kind: "arcface" adds the margin to the angle, "cosface" takes it from the cosine.
      margin: the mean m; None for the paper's, 0.5 radians or 0.35 of cosine.
      deviation: sigma. The paper trains with 0.0125 to 0.05.
      scale: s.
      assignment: "random" as drawn. "ranked" is the paper's ElasticFace+: the same draw, sorted so
        that the rows farthest from their class centres get the largest margins. "released" is what
        its released code does: row i gets the margin of the rank that is the number of the i-th
        easiest row, the inverse of that order, and so hardly a row the margin meant for it.
      beyond_pi: of kind "arcface", see `arcface_logits`; its released code has no branch.

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: an option has an unknown name, or a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> logits = losses.elasticface_logits(
      ...     jnp.array([[1.0, 0.5]]), jnp.array([0]), jax.random.key(0), kind="cosface",
      ...     margin=0.25, deviation=0.0, scale=4.0)
      >>> logits.tolist()
      [[3.0, 2.0]]

    References:
      Boutros et al., ElasticFace, CVPR Workshops 2022, https://arxiv.org/abs/2109.09416
    """
    drawn = elasticface_margin(
        kind=kind,
        margin=margin,
        deviation=deviation,
        scale=scale,
        assignment=assignment,
        beyond_pi=beyond_pi,
    )
    return margin_logits(cosine, labels, drawn, MarginInputs(key=key))[0]
