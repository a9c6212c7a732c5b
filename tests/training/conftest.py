"""A training setting small enough to compile in seconds."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from ddl_jax import parallel
from ddl_jax.config import Batch, Config, Model, Optimizer
from ddl_jax.models.batch_norm import BatchNorm
from ddl_jax.models.blocks import Linear, Slope
from ddl_jax.training.fine_tuning import EVERYTHING, make_fine_tuning
from ddl_jax.training.objective import make_objective
from ddl_jax.training.optimizer import make_optimizer
from ddl_jax.training.state import init_state, make_card
from ddl_jax.training.step import make_train_step

CLASSES = 20


class Backbone(nn.Module):
    """The layers whose statistics cross the devices, and little to compile."""

    batch_norm: str
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, train=False):
        axis_name = parallel.AXIS if self.batch_norm == "global" else None
        x = nn.Conv(8, (4, 4), strides=4, use_bias=False, name="conv")(x)
        norm = BatchNorm(self.batch_norm, axis_name, name="bn1")
        x = norm(x, train, Slope(name="prelu"))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Linear(16, name="fc")(x.reshape(x.shape[0], -1))
        return BatchNorm(self.batch_norm, axis_name, learn_scale=False, name="features")(x, train)


@dataclasses.dataclass
class Trainer:
    """A step on some devices, and the means to look at what it does."""

    config: Config

    def __post_init__(self):
        config = self.config
        self.mesh = parallel.make_mesh(config.devices)
        self.module, self.card = Backbone(config.model.batch_norm), make_card(config)
        self.optimizer, self.fine_tuning = make_optimizer(config), EVERYTHING
        self.objective = make_objective(config, CLASSES)

    def fine_tune(self, module):
        """Takes another backbone, one that has parts, and does to them what the config says."""
        self.module, self.fine_tuning = module, make_fine_tuning(self.config, module)
        self.optimizer = make_optimizer(self.config, self.fine_tuning)
        return self

    def new_state(self):
        return init_state(
            self.config,
            self.module,
            self.card,
            self.optimizer,
            classes=CLASSES,
            mesh=self.mesh,
            fine_tuning=self.fine_tuning,
        )

    def step(self, state):
        step = make_train_step(
            self.module,
            self.card,
            self.objective,
            self.optimizer,
            seed=self.config.seed,
            fine_tuning=self.fine_tuning,
            micro_batches=self.config.micro_batches,
            ema_decay=self.config.optimizer.ema_decay,
        )
        return parallel.map_step(step, self.mesh, state, how=self.config.parallelism)

    def repeat(self, steps):
        """Metrics of some steps on one batch, from the first state on."""
        state = self.new_state()
        step, metrics = self.step(state), []
        for _ in range(steps):
            # Anew for each step, which may give its buffers away.
            batch = parallel.global_batch(self.mesh, make_batch(self.config, 0))
            state, found = step(state, batch)
            metrics.append(jax.device_get(found))
        return metrics

    def run(self, steps):
        """State and metrics after some steps, as numpy."""
        state = self.new_state()
        step, metrics = self.step(state), []
        for number in range(steps):
            batch = parallel.global_batch(self.mesh, make_batch(self.config, number))
            state, values = step(state, batch)
            scalars = {name: value for name, value in values.items() if value.ndim == 0}
            metrics.append({name: float(value) for name, value in scalars.items()})
        return jax.device_get(state), metrics


def make_batch(config, seed):
    """Random pixels; within a domain all identities differ, as the sampler makes them."""
    rng = np.random.default_rng(seed)
    b, m = config.batch_size, 1 if config.batch.kind == "images" else 3 * len(config.batch.domains)
    images = rng.integers(0, 256, (b, m, *config.model.input_size, 3), dtype=np.uint8)
    labels = np.stack([rng.permutation(CLASSES)[:b] for _ in range(m)], axis=1).astype(np.int32)
    if m > 1:
        labels[:, 2::3] = labels[:, 1::3]  # the two images of a pair
    return {"image": images, "label": labels}


def small_config(kind="ddl", devices=1, **changes):
    """Eight rows a step, at the learning rate of the DDL paper."""
    config = Config(
        batch_size=8,
        devices=devices,
        model=Model(name="iresnet_tiny", embedding_size=16, input_size=(16, 16)),
        batch=Batch(kind=kind, domains=("easy", "hard") if kind == "ddl" else ()),
        optimizer=Optimizer(learning_rate=1e-3),
    )
    for key, value in changes.items():
        owner, _, field = key.rpartition("__")
        target = config
        for part in filter(None, owner.split("__")):
            target = getattr(target, part)
        setattr(target, field, value)
    return config


@pytest.fixture(scope="session")
def trainer():
    """Makes a `Trainer`: `trainer("ddl", devices=8, parallelism="pmap")`."""
    return lambda kind="ddl", **changes: Trainer(small_config(kind, **changes))
