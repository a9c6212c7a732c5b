"""ArcFace over all devices: rows of the batch and class centres are split, the network is not.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 \\
        PYTHONPATH=. python docs/tutorials/many_devices.py

One step by `jax.shard_map`, with the two rules for its gradients, beside the same step on one
device. 64 rows and 256 people must divide by the number of devices.
"""

import jax
import jax.numpy as jnp

from ddl_jax import losses

ROWS, PEOPLE, PIXELS, SIZE = 64, 256, 48, 16


def mean_loss(params, faces, people, axis_name=None):
    embeddings = jnp.tanh(faces @ params["kernel"])
    loss, _ = losses.margin_softmax_loss(
        embeddings, params["centers"], people, margin="arcface", axis_name=axis_name
    )
    mean = jnp.mean(loss)
    return mean if axis_name is None else jax.lax.pmean(mean, axis_name)


def device_step(params, faces, people):
    """For one device of the axis "data": its own rows, its own part of the class centres."""
    loss, gradients = jax.value_and_grad(mean_loss)(params, faces, people, "data")
    return loss, {
        # These are of the sum over the N devices of what each returns, which is N times the mean.
        # Of what all hold alike every device has a share, and N shares are the sum; of its own
        # part it has all there is.
        "kernel": jax.lax.pmean(gradients["kernel"], "data"),
        "centers": gradients["centers"] / jax.lax.axis_size("data"),
    }


def main():
    keys = jax.random.split(jax.random.key(0), 4)
    faces = jax.random.normal(keys[0], (ROWS, PIXELS))
    people = jax.random.randint(keys[1], (ROWS,), 0, PEOPLE)
    params = {
        "kernel": jax.random.normal(keys[2], (PIXELS, SIZE)) / 7.0,
        "centers": jax.random.normal(keys[3], (PEOPLE, SIZE)),
    }
    # axis_types: under jax's default of explicit axes arrays would have to be placed by hand first.
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=auto)
    split, same = jax.P("data"), jax.P()
    held = {"kernel": same, "centers": split}
    step = jax.shard_map(
        device_step,
        mesh=mesh,
        in_specs=(held, split, split),
        out_specs=(same, held),
        check_vma=False,
    )
    many = jax.jit(step)(params, faces, people)
    one = jax.jit(jax.value_and_grad(mean_loss))(params, faces, people)
    difference = max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), many, one)))
    print(f"{mesh.size} devices: loss {many[0]:.4f}, at most {difference:.1e} from one device")
    return mesh.size, float(difference), float(jnp.max(jnp.abs(one[1]["kernel"])))


if __name__ == "__main__":
    main()
