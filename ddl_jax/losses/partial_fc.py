"""PartialFC: the softmax over a sample of the classes, and updates of the sampled centres alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ddl_jax.losses.axis import axis_sum, gather_rows, own_rows
from ddl_jax.losses.checks import check_integers, check_shapes, check_whole


class SampledClasses(NamedTuple):
    """The classes that take part in one step.

    Attributes:
      rows: `[S]` rows of this device's class centres, rising, none twice.
      labels: `[B]` the own rows' labels as numbers of the sampled classes, for a softmax over
        `class_centers[rows]` of all devices; -1 for a row without a class.
    """

    rows: jax.Array
    labels: jax.Array


def sample_classes(
    key: jax.Array,
    labels: jax.Array,
    *,
    classes: int,
    size: int,
    class_where: jax.Array | None = None,
    axis_name: str | None = None,
) -> SampledClasses:
    """Every class of the batch and a random share of the others (PartialFC, An et al. 2021/2022).

    The softmax over the sample is one over `class_centers[rows]`:

        sample = sample_classes(key, labels, classes=len(class_centers), size=size)
        loss, aux = margin_softmax_loss(embeddings, class_centers[sample.rows], sample.labels)

    With `size == classes` that is the softmax over all. Classes are drawn evenly, without
    replacement; as in the authors' code nothing corrects the smaller denominator.

    Args:
      key: a random key, another one for every batch; the same on every device.
      labels: `[B]` integers, global class numbers.
      classes: rows of class centres that this device holds.
      size: S, how many of them take part; at least the batch's rows, which may all be of other
        classes (or all classes, where they are fewer).
      class_where: `[classes]` bool, False for padding, which is drawn last. Give
        `class_where[rows]` to the softmax too.
      axis_name: the mapped axis over which rows and class centres are split. Every device draws
        `size` of its own classes.

    Returns:
      `SampledClasses`.

    Raises:
      ValueError: the size cannot hold the positives, or exceeds the classes.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> sample = losses.sample_classes(
      ...     jax.random.key(0), jnp.array([7, 2, 7]), classes=10, size=4)
      >>> [int(row) for row in sample.rows[sample.labels]], len(sample.rows)
      ([7, 2, 7], 4)

    References:
      An et al., Killing Two Birds with One Stone, CVPR 2022, https://arxiv.org/abs/2203.15565
    """
    check_whole("classes", classes, 1)
    check_integers(labels=labels)
    where = jnp.ones(classes, bool) if class_where is None else class_where
    check_shapes(labels=(labels, "B"))
    if where.shape != (classes,):
        raise AssertionError(f"class_where has shape {where.shape}; expected [classes={classes}]")
    row_labels = gather_rows(labels, axis_name)
    needed = min(len(row_labels), classes)
    why = f"{needed} to hold those of a batch of {len(row_labels)} rows, {classes} there are"
    check_whole("size", size, needed, classes, why)
    device = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    local = row_labels - device * classes
    is_own = (local >= 0) & (local < classes)
    is_own &= where[jnp.clip(local, 0, classes - 1)]

    # Positives stand above every draw of [0, 1), padding below.
    scores = jax.random.uniform(jax.random.fold_in(key, device), (classes,))
    scores = jnp.where(where, scores, -1.0)
    scores = scores.at[jnp.where(is_own, local, classes)].set(2.0, mode="drop")
    rows = jnp.sort(jax.lax.top_k(scores, size)[1])

    number = device * size + jnp.searchsorted(rows, local)
    number = axis_sum(jnp.where(is_own, number, 0), axis_name)
    found = axis_sum(is_own.astype(jnp.int32), axis_name) > 0
    sampled_labels = jnp.where(found, number, -1).astype(labels.dtype)
    return SampledClasses(rows, own_rows(sampled_labels, axis_name))


def update_rows(
    optimizer: optax.GradientTransformation,
    gradients: jax.Array,
    state: Any,
    params: jax.Array,
    rows: jax.Array,
) -> tuple[jax.Array, Any]:
    """One step of an Optax optimizer on some rows; the others keep value, momentum and all.

    Weight decay, momentum and second moments of rows that were not sampled stand still, as in
    PartialFC: an ordinary step with gradient 0 would decay them.

    Args:
      optimizer: any transformation that treats rows alike: SGD, momentum, decay, Adam, schedules.
        One that looks at a whole array (a clip by norm) sees the given rows.
      gradients: `[S, ...]`, of `params[rows]`.
      state: of `optimizer.init(params)`. Leaves whose first dimension is that of `params` are taken
        by row; the others, such as a count of steps, are one for all rows.
      params: `[C, ...]`.
      rows: `[S]` integers, none twice.

    Returns:
      `(params, state)` after the step.

    Raises:
      AssertionError: ranks, shapes or types do not fit, or the state is of the gathered rows alone.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from ddl_jax import losses
      >>> params = jnp.array([[1.0], [2.0], [3.0]])
      >>> sgd = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(1.0))
      >>> params, _ = losses.update_rows(
      ...     sgd, jnp.array([[0.25]]), sgd.init(params), params, jnp.array([1]))
      >>> params.ravel().tolist()  # 2 - (.25 + .5 * 2); the others are not decayed
      [1.0, 0.75, 3.0]
    """
    check_shapes(rows=(rows, "S"))
    check_integers(rows=rows)
    if gradients.shape != (*rows.shape, *params.shape[1:]):
        expected = [len(rows), *params.shape[1:]]
        raise AssertionError(f"gradients has shape {gradients.shape}; expected {expected}")
    if gradients.shape != params.shape:
        for leaf in jax.tree.leaves(state):
            if jnp.shape(leaf) == gradients.shape:
                raise AssertionError(
                    f"state has a leaf of shape {gradients.shape}, that of the gathered rows; "
                    f"expected that of all: optimizer.init(params), params of {params.shape}"
                )

    def by_row(leaf: Any) -> bool:
        return jnp.ndim(leaf) > 0 and leaf.shape[0] == params.shape[0]

    def put(whole: Any, part: Any) -> Any:
        return whole.at[rows].set(part, unique_indices=True) if by_row(whole) else part

    own_state = jax.tree.map(lambda leaf: leaf[rows] if by_row(leaf) else leaf, state)
    own = params[rows]
    updates, own_state = optimizer.update(gradients, own_state, own)
    return put(params, optax.apply_updates(own, updates)), jax.tree.map(put, state, own_state)
