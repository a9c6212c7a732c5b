"""What share of the time of training do evaluations take?

    python -m benchmarks.evaluation_share --network=iresnet_tiny

Measures, on this machine: a training step; the embedding of made JPEG images, decoded, with mirror
images and the look at the channel order; and what comes after it for the pairs of LFW, CFP-FP and
AgeDB-30 at their sizes (6,000, 7,000 and 6,000 pairs of 38,000 images; random embeddings): folds,
bootstrap, files and report. From these follows the share at the interval and batch of every config
that evaluates on its way: images are counted as different ones, of which the files have fewer.
"""

import argparse
import pathlib
import runpy
import statistics
import tempfile
import time
from collections.abc import Iterator

import cv2
import jax
import numpy as np
from etils import epath

from benchmarks.whole_step import JaxStep, Task, seconds
from ddl_jax.config import Config, Evaluation, images_of_a_row
from ddl_jax.evaluation.evaluate import report, write_evaluation
from ddl_jax.evaluation.pairs_protocol import pairs_protocol
from ddl_jax.evaluation.protocols import Protocol, run_protocols
from ddl_jax.evaluation.protocols.images import EncodedImages
from ddl_jax.evaluation.protocols.protocol import PairRows

PAIRS = {"lfw": 6000, "cfp_fp": 7000, "agedb_30": 6000}
_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="iresnet_tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--pairs", type=int, default=128, help="whose images are embedded")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, {vars(options)}")
    task = Task(options.network, options.batch, options.classes, options.size, options.dtype)
    step = JaxStep(task)
    training, embedding, after = zip(
        *(
            (
                seconds(step, step.wait, 2) / options.batch,
                _embedding(step, options.pairs),
                _after_embedding(),
            )
            for _ in range(1 + options.rounds)
        )
    )
    # The first round compiles.
    training, embedding, after = (statistics.median(t[1:]) for t in (training, embedding, after))
    images = 2 * sum(PAIRS.values())
    whole = images * embedding + after
    print(f"training: {1000 * training:.2f} ms an image")
    print(f"embedding: {1000 * embedding:.2f} ms an image; {images:,}: {images * embedding:.1f} s")
    print(f"after it: {after:.1f} s; the whole evaluation {whole:.1f} s")
    for name, config in evaluating():
        trained = config.evaluation.every * config.batch_size * images_of_a_row(config.batch)
        share = whole / (whole + trained * training)
        print(
            f"{name}: every {config.evaluation.every} steps of {config.batch_size}: {share:.2%} of "
            f"the time"
        )


def evaluating() -> Iterator[tuple[str, Config]]:
    """The configs that evaluate on their way, as they are shipped."""
    for path in sorted(_CONFIGS.glob("[!_]*.py")):
        config = runpy.run_path(str(path))["get_config"]()
        if config.evaluation.every > 0:
            yield path.stem, config


def forward_passes(flip: bool = True) -> int:
    """Of one evaluation on the three benchmarks, with the look at the order of channels."""
    looked_at = 1000  # images of 250 pairs of either kind
    return (1 + flip) * sum(2 * pairs + looked_at for pairs in PAIRS.values())


def _embedding(step: JaxStep, pairs: int) -> float:
    """Seconds an image, of all that is done to it."""
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (2 * pairs, 12, 12, 3), np.uint8)
    encoded = [cv2.imencode(".jpg", cv2.resize(image, (112, 112)))[1].tobytes() for image in smooth]
    rows = np.arange(0, 2 * pairs, 2)
    protocol = Protocol(
        "made",
        EncodedImages(encoded, "made"),
        lambda embeddings: {},
        # As large a part of the images is looked at twice as of the three benchmarks.
        PairRows(rows, rows + 1, rows % 4 == 0).sample(max(1, 3 * 250 * pairs // 19_000)),
        {},
    )
    settings, start = Evaluation(batch_size=64), time.perf_counter()
    run_protocols(step.module, step.state.variables, step.card, [protocol], settings, step.mesh)
    return (time.perf_counter() - start) / (2 * pairs)


def _after_embedding() -> float:
    made = {name: _made(pairs) for name, pairs in PAIRS.items()}
    start = time.perf_counter()
    results = {name: pairs_protocol(*arguments) for name, arguments in made.items()}
    with tempfile.TemporaryDirectory() as folder:
        directory = epath.Path(folder)
        write_evaluation(directory, results, {})
        rows = [{"step": n, "loss": 1.0, "margin_softmax": 1.0} for n in range(0, 100_000, 50)]
        report(directory, {"now": directory}, metrics=rows)
    return time.perf_counter() - start


def _made(pairs: int) -> tuple[np.ndarray, ...]:
    """Embeddings that are as hard to tell apart as in training; first, second, same."""
    rng = np.random.default_rng(pairs)
    first = rng.standard_normal((pairs, 512), np.float32)
    same = np.arange(pairs) // (pairs // 20) % 2 == 0
    second = rng.standard_normal((pairs, 512), np.float32) + np.where(same, 0.5, 0)[:, None] * first
    numbers = np.arange(pairs)
    return np.concatenate([first, second]), numbers, pairs + numbers, same


if __name__ == "__main__":
    main()
