"""Ten steps of our training and ten of PyTorch's, from the same weights on the same images."""

import importlib.util

import jax
import numpy as np
import pytest

from ddl_jax import parallel
from ddl_jax.config import Config, Model
from ddl_jax.interop import load_torch_backbone, save_torch_backbone
from ddl_jax.training.state import make_module
from tests.training.conftest import CLASSES, Trainer, make_batch

STEPS, SIZE, BATCH, RATE = 10, 32, 16, 0.002

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not here"),
    pytest.mark.filterwarnings("default"),  # PyTorch's own
]


def config():
    settings = Config(batch_size=BATCH, devices=1)
    settings.model = Model(name="iresnet18", embedding_size=64, input_size=(SIZE, SIZE))
    settings.loss.arcface.beyond_pi = "none"  # as arcface_torch
    settings.loss.scale = 16.0
    settings.optimizer.learning_rate = RATE
    return settings


def ours():
    """The state before and after, and the losses."""
    trainer = Trainer(config())
    trainer.fine_tune(make_module(trainer.config))
    # Activations of a fresh network grow from block to block; trained ones are of one size.
    state = trainer.new_state()
    state = state.replace(params=calm(state.params))
    start = jax.tree.map(np.asarray, state)
    step, losses = trainer.step(state), []
    for number in range(STEPS):
        batch = parallel.global_batch(trainer.mesh, make_batch(trainer.config, number))
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return start, jax.tree.map(np.asarray, state), losses


def calm(params):
    return jax.tree.map_with_path(
        lambda path, leaf: 0.3 * leaf if path[-2].key == "bn3" else leaf, params
    )


def torchs(start, folder):
    """The backbone after the steps as our variables, the class centres, the losses."""
    import torch

    from benchmarks.torch_iresnet import TorchIResNet, arcface_loss

    path = folder / "weights.pt"
    variables = {"params": start.params["backbone"], "batch_stats": start.batch_stats}
    save_torch_backbone(path, "iresnet18", variables)
    model = TorchIResNet("iresnet18", embedding_size=64, input_size=(SIZE, SIZE))
    model.load_state_dict(torch.load(path, weights_only=True))
    model.train()
    centers = torch.tensor(start.params["heads"]["shared"]["class_centers"][:CLASSES])
    centers = torch.nn.Parameter(centers)
    trained = [p for p in (*model.parameters(), centers) if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=RATE, momentum=0.9, weight_decay=5e-4)
    losses = []
    for number in range(STEPS):
        batch = make_batch(config(), number)
        images, labels = batch["image"][:, 0], batch["label"][:, 0]
        pixels = torch.tensor(images).permute(0, 3, 1, 2).float()
        embeddings = model((pixels - 127.5) / 127.5)
        loss = arcface_loss(embeddings, centers, torch.tensor(labels).long(), scale=16.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(state, folder / "trained.pt")
    after = load_torch_backbone(folder / "trained.pt", "iresnet18", input_size=(SIZE, SIZE))
    return after, centers.detach().numpy(), losses


def test_ten_sgd_steps_of_iresnet18_are_pytorchs(tmp_path):
    start, state, losses = ours()
    after, centers, their_losses = torchs(start, tmp_path)
    np.testing.assert_allclose(losses, their_losses, atol=1e-3)
    backbone = {"params": state.params["backbone"], "batch_stats": state.batch_stats}
    jax.tree.map(
        lambda our, their: np.testing.assert_allclose(our, their, atol=1e-3), backbone, after
    )
    ours_at_first, our_centers = (
        at.params["heads"]["shared"]["class_centers"][:CLASSES] for at in (start, state)
    )
    np.testing.assert_allclose(our_centers, centers, atol=1e-3)
    assert np.abs(our_centers - ours_at_first).max() > 0.002 and losses[-1] != losses[0]
