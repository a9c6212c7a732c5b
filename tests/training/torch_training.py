"""Ten steps of PyTorch's SGD on insightface's iresnet18, as `tests/golden/torch_training.npz`.

Weights, images and labels are made by rule, so that the file holds only what came out: the losses,
and of the update of every tensor its length and a sketch. PyTorch ran in float64: what is further
away than rounding is a mistake of ours. How far PyTorch's own float32 comes out is kept too.

    python -m tests.training.torch_training    # makes the file again, with PyTorch
"""

import pathlib
import zlib

import numpy as np

from tests.interop.golden_weights import iresnet_weights
from tests.training.conftest import CLASSES, make_batch, small_config

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "torch_training.npz"
STEPS, CENTERS = 10, "class_centers"
_WIDTH = 128


def config():
    """The settings of both sides; what the loss does is arcface_torch's."""
    settings = small_config("images", batch_size=16, loss__scale=16.0)
    settings.model.name, settings.model.embedding_size = "iresnet18", 64
    settings.model.input_size = (32, 32)
    settings.loss.arcface.beyond_pi = "none"
    settings.optimizer.learning_rate = 0.002
    return settings


def start(keys) -> dict[str, np.ndarray]:
    """The first state dict, and the class centres, by their names and shapes alone."""
    state = iresnet_weights(keys)
    return state | {"features.weight": np.ones_like(state["features.weight"])}


def sketch(name: str, update: np.ndarray) -> np.ndarray:
    """A leaf's numbers, their signs drawn by its name, added up in 128 heaps.

    The sketch of a difference is the difference of the sketches, and as long as the difference
    itself within about 6 % (Charikar et al. 2002): every number of a leaf is in it.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    signs = 2.0 * rng.integers(0, 2, update.size, dtype=np.int8) - 1
    signed = signs * np.asarray(update, np.float64).ravel()
    return np.pad(signed, (0, -update.size % _WIDTH)).reshape(-1, _WIDTH).sum(0)


def updates(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the steps changed, in float64, without what counts batches and what is fixed."""
    names = [n for n in before if not n.endswith("num_batches_tracked") and n != "features.weight"]
    return {name: np.float64(after[name]) - before[name] for name in names}


def train(dtype: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[float]]:
    """PyTorch's state before and after the steps, and the losses."""
    import torch

    from benchmarks.torch_iresnet import TorchIResNet, arcface_loss

    settings, kind = config(), getattr(torch, dtype)
    size = settings.model.embedding_size
    model = TorchIResNet("iresnet18", embedding_size=size, input_size=settings.model.input_size)
    keys = [f"{name}:{'x'.join(map(str, v.shape))}" for name, v in model.state_dict().items()]
    before = start([*keys, f"{CENTERS}:{CLASSES}x{size}"])
    tensors = {name: torch.tensor(value) for name, value in before.items()}
    centers = torch.nn.Parameter(tensors.pop(CENTERS).to(kind))
    model.load_state_dict(tensors)
    model.to(kind).train()
    trained = [p for p in (*model.parameters(), centers) if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.002, momentum=0.9, weight_decay=5e-4)
    losses = []
    for number in range(STEPS):
        batch = make_batch(settings, number)
        pixels = torch.tensor(batch["image"][:, 0]).permute(0, 3, 1, 2).to(kind)
        labels = torch.tensor(batch["label"][:, 0]).long()
        loss = arcface_loss(model((pixels - 127.5) / 127.5), centers, labels, scale=16.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    after = model.state_dict() | {CENTERS: centers.detach()}
    return before, {name: value.numpy() for name, value in after.items()}, losses


def digest(before: dict[str, np.ndarray], after: dict[str, np.ndarray], losses: list[float]):
    """What the file holds of one run of `train`."""
    wanted = updates(before, after)
    shapes = {name: "x".join(map(str, value.shape)) for name, value in before.items()}
    return {
        "keys": np.array([f"{name}:{shape}" for name, shape in shapes.items()]),
        "losses": np.array(losses),
        "names": np.array(list(wanted)),
        "lengths": np.array([np.linalg.norm(update) for update in wanted.values()]),
        "sketches": np.float32([sketch(name, update) for name, update in wanted.items()]),
    }


def distances(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> np.ndarray:
    """How far each leaf's update is from the wanted one, as a share of that."""
    differences = {name: np.linalg.norm(found[name] - update) for name, update in wanted.items()}
    return np.float32([differences[name] / np.linalg.norm(wanted[name]) for name in wanted])


if __name__ == "__main__":
    double, single = train("float64"), train("float32")
    both = (updates(before, after) for before, after, _ in (single, double))
    np.savez_compressed(GOLDEN, **digest(*double), float32_errors=distances(*both))
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")
