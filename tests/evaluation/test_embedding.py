"""How a network comes by its images."""

import time

from ddl_jax import parallel
from ddl_jax.evaluation import embedding
from ddl_jax.evaluation.protocols.images import EncodedImages

from .test_embedding_cache import embedded, images_of


class Noted(EncodedImages):
    """Images that note which were asked for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = []

    def __getitem__(self, number):
        self.asked.append(number)
        return super().__getitem__(number)


def test_a_slow_network_does_not_fill_the_memory_with_decoded_images(monkeypatch):
    images, decoded = images_of(*map(str, range(60)), kind=Noted), []

    def slowly(*arguments):
        time.sleep(0.2 if len(decoded) < 3 else 0)
        decoded.append(len(images.asked))
        return made(*arguments)

    made = parallel.global_batch
    monkeypatch.setattr(parallel, "global_batch", slowly)
    monkeypatch.setattr(embedding, "available_cores", lambda: 3)
    assert len(embedded(None, images)) == 60
    # A batch that the network has, and one for each core; of 2 images.
    assert [count <= 2 * (batch + 1 + 3) for batch, count in enumerate(decoded)] == [True] * 30
    assert decoded[2] > 6 and decoded[-1] == 60
