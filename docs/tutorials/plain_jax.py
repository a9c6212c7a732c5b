"""Three losses in plain JAX and Optax: ArcFace, batch-hard triplets, and DDL from clear to noisy.

    PYTHONPATH=. python docs/tutorials/plain_jax.py

(in a checkout; after `pip install .` without PYTHONPATH).
"Faces" are vectors: what a person looks like, plus noise. Noisy ones are the hard domain.
"""

import jax
import jax.numpy as jnp
import optax

from ddl_jax import losses

PEOPLE, PIXELS, SIZE, ROWS, STEPS = 64, 96, 32, 32, 300
NOISE = {"easy": 0.3, "hard": 1.5}
looks = jax.random.normal(jax.random.key(0), (PEOPLE, PIXELS))


def photograph(key, people, domain):
    return looks[people] + NOISE[domain] * jax.random.normal(key, (len(people), PIXELS))


def embed(params, images):
    return jax.nn.relu(images @ params["first"]) @ params["second"]


def total_loss(params, key):
    """Per domain one single and a positive pair of each of ROWS people."""
    people = jax.random.permutation(key, PEOPLE)[:ROWS]
    keys = iter(jax.random.split(key, 6))
    x = {d: [embed(params, photograph(next(keys), people, d)) for _ in range(3)] for d in NOISE}
    singles = jnp.concatenate([x["easy"][0], x["hard"][0]])
    labels = jnp.concatenate([people, people])
    softmax, _ = losses.margin_softmax_loss(singles, params["centers"], labels, margin="arcface")
    triplet = losses.batch_hard_triplet_loss(singles, labels)
    easy, hard = (losses.pair_similarities(*x[domain]) for domain in ("easy", "hard"))
    ddl, _ = losses.distribution_distillation_loss(easy, [hard])
    return jnp.mean(softmax) + triplet + ddl


def rank_one(params, domain):
    """Share of photographs whose nearest clear photograph is of the same person."""
    everyone = jnp.arange(PEOPLE)
    gallery = embed(params, photograph(jax.random.key(1), everyone, "easy"))
    probes = embed(params, photograph(jax.random.key(2), everyone, domain))
    return float(jnp.mean(jnp.argmax(losses.cosine_logits(probes, gallery), 1) == everyone))


def main():
    shapes = {"first": (PIXELS, 64), "second": (64, SIZE), "centers": (PEOPLE, SIZE)}
    keys = jax.random.split(jax.random.key(3), len(shapes))
    params = {n: 0.1 * jax.random.normal(k, s) for (n, s), k in zip(shapes.items(), keys)}
    optimizer = optax.adam(2e-3)

    @jax.jit
    def step(params, state, key):
        loss, gradients = jax.value_and_grad(total_loss)(params, key)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, loss

    before = {domain: rank_one(params, domain) for domain in NOISE}
    state = optimizer.init(params)
    for number in range(STEPS):
        params, state, loss = step(params, state, jax.random.key(number))
    after = {domain: rank_one(params, domain) for domain in NOISE}
    print(f"loss {loss:.2f}; rank-1 before {before}, after {after}")
    return before, after


if __name__ == "__main__":
    main()
