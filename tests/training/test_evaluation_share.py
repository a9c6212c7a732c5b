"""Evaluations on a run's way are less than a twentieth of its passes, as configs are shipped."""

import numpy as np
import pytest

from benchmarks.evaluation_share import PAIRS, evaluating, forward_passes
from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.evaluation.protocols import run, run_protocols
from ddl_jax.evaluation.protocols.images import EncodedImages
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol
from ddl_jax.models import ModelCard

SHIPPED = dict(evaluating())


def test_the_pretraining_configs_evaluate_on_their_way():
    assert len(SHIPPED) == 8 and "ms1mv3_iresnet50" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_an_evaluation_is_less_than_a_twentieth_of_the_passes_of_its_interval(name):
    config = SHIPPED[name]
    images = config.evaluation.every * config.batch_size * config_lib.images_of_a_row(config.batch)
    trained = 3 * images  # a backward pass takes the products of two forward passes
    evaluated = forward_passes(config.evaluation.flip)
    assert 0 < evaluated / (evaluated + trained) < 0.05


def test_the_forward_passes_are_those_of_an_evaluation(monkeypatch):
    passes = []

    def embed(module, variables, card, images, *, flip, **others):
        passes.append((1 + flip) * len(images))
        return np.random.default_rng(0).normal(size=(len(images), 4))

    monkeypatch.setattr(run, "embed", embed)
    protocols = []
    for name, pairs in PAIRS.items():  # all images different: the files have fewer
        rows = np.arange(0, 2 * pairs, 2)
        same = np.arange(pairs) % 2 == 0
        images = EncodedImages([b""] * (2 * pairs), name)
        protocols.append(Protocol(name, images, lambda _: {}, PairRows(rows, rows + 1, same), {}))
    card = ModelCard(network="none", embedding_size=4)
    run_protocols(None, None, card, protocols, config_lib.Evaluation(), parallel.make_mesh(1))
    assert sum(passes) == forward_passes()
