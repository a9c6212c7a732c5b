"""CurricularFace in Flax NNX, its state handed in and out, over class centres in chunks.

    PYTHONPATH=. python docs/tutorials/flax_nnx.py

(in a checkout; after `pip install .` without PYTHONPATH).
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ddl_jax import losses

PEOPLE, PIXELS, SIZE, ROWS, STEPS = 200, 96, 32, 64, 300
looks = jax.random.normal(jax.random.key(0), (PEOPLE, PIXELS))


def photograph(key, people):
    return looks[people] + jax.random.normal(key, (len(people), PIXELS))


class Recognizer(nnx.Module):
    """A network and, beside it, the class centres it is trained with."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(PIXELS, 128, rngs=rngs)
        self.second = nnx.Linear(128, SIZE, rngs=rngs)
        self.centers = nnx.Param(0.01 * jax.random.normal(rngs.params(), (PEOPLE, SIZE)))

    def __call__(self, images):
        return self.second(nnx.relu(self.first(images)))


@nnx.jit
def train_step(model, optimizer, t, key):
    people = jax.random.randint(key, (ROWS,), 0, PEOPLE)

    def mean_loss(model):
        loss, aux = losses.margin_softmax_loss(
            model(photograph(key, people)),
            model.centers[...],
            people,
            margin=losses.curricularface_margin(margin=0.3, scale=32.0),
            margin_state=t,
            class_chunk=64,  # no array of ROWS x PEOPLE
        )
        return jnp.mean(loss), aux.state

    (loss, t), gradients = nnx.value_and_grad(mean_loss, has_aux=True)(model)
    optimizer.update(model, gradients)
    return loss, t


def rank_one(model):
    everyone = jnp.arange(PEOPLE)
    gallery, probes = (model(photograph(jax.random.key(k), everyone)) for k in (1, 2))
    return float(jnp.mean(jnp.argmax(losses.cosine_logits(probes, gallery), 1) == everyone))


def main():
    model = Recognizer(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param)
    before, t = rank_one(model), jnp.float32(0.0)
    for number in range(STEPS):
        loss, t = train_step(model, optimizer, t, jax.random.key(number))
    after = rank_one(model)
    print(f"loss {loss:.2f}, t {t:.3f}; rank-1 before {before:.2f}, after {after:.2f}")
    return before, after


if __name__ == "__main__":
    main()
