"""How a network comes by its images."""

import time

from ddl_jax import parallel
from ddl_jax.evaluation import embedding
from ddl_jax.evaluation.protocols.images import EncodedImages

from .test_embedding_cache import embedded, images_of


class Counted(EncodedImages):
    """Images that count how often one was asked for."""

    read = 0

    def __getitem__(self, number):
        self.read += 1
        return super().__getitem__(number)


def test_a_slow_network_does_not_fill_the_memory_with_decoded_images(monkeypatch):
    images, read = images_of(*map(str, range(60)), kind=Counted), []

    def slowly(*arguments):
        time.sleep(0.1 if len(read) < 3 else 0)
        read.append(images.read)
        return made(*arguments)

    made = parallel.global_batch
    monkeypatch.setattr(parallel, "global_batch", slowly)
    monkeypatch.setattr(embedding, "available_cores", lambda: 3)
    assert len(embedded(None, images)) == 60
    # A batch that the network has, and one for each core; of 2 images.
    assert [count <= 2 * (batch + 1 + 3) for batch, count in enumerate(read)] == [True] * 30
    assert read[0] > 2 and read[-1] == 60
