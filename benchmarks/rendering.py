"""How many people a minute does synthetic_faces render on one core?

    python -m benchmarks.rendering

Prints the median over blocks of identities, with the default number of views, JPEG included, and
the limit: what encoding alone would allow.
"""

import statistics
import time

import cv2

from ddl_jax.data.synthetic_faces import SyntheticFacesConfig
from ddl_jax.data.synthetic_faces.render import render_identity

_BLOCKS, _PEOPLE = 7, 10


def main() -> None:
    cv2.setNumThreads(1)
    config = SyntheticFacesConfig()
    render, encode = [], []
    for block in range(_BLOCKS):
        people = range(block * _PEOPLE, (block + 1) * _PEOPLE)
        start = time.process_time()
        faces = [render_identity(config.seed, i, config.views, config.size) for i in people]
        faces = [image for views in faces for _, _, image in views]
        drawn = time.process_time()
        for image in faces:
            cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        render.append(drawn - start)
        encode.append(time.process_time() - drawn)
    whole = statistics.median(map(sum, zip(render, encode, strict=True)))
    images = sum(config.views.values()) * _PEOPLE
    print(f"{60 * _PEOPLE / whole:.0f} people a minute on one core ({images / whole:.0f} images/s)")
    print(f"encoding is {statistics.median(encode) / whole:.0%} of it")


if __name__ == "__main__":
    main()
