"""What a network expects of its images."""

import json

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.models import ModelCard


def test_normalises_to_minus_one_and_one_by_default():
    pixels = np.array([[[0, 255, 51]]], np.uint8)
    y = ModelCard("iresnet18", input_size=(1, 1)).normalise(pixels)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, [[[-1.0, 1.0, -0.6]]], atol=1e-6)


def test_takes_rgb_and_gives_the_networks_order():
    card = ModelCard(
        "iresnet18", input_size=(4, 5), colour="BGR", mean=(1, 2, 3), deviation=(1, 2, 4)
    )
    pixels = np.tile(np.array([11, 22, 33], np.uint8), (2, 4, 5, 1))
    want = np.tile(np.array([32, 10, 2], np.float32), (2, 4, 5, 1))
    np.testing.assert_array_equal(card.normalise(pixels), want)


@pytest.mark.parametrize("shape", [(2, 96, 112, 3), (112, 96), (2, 3, 112, 96), (2, 112, 96, 1)])
def test_images_of_another_size_are_refused(shape):
    card = ModelCard("iresnet18", input_size=(112, 96))
    assert card.normalise(np.zeros((2, 112, 96, 3), np.uint8)).shape == (2, 112, 96, 3)
    with pytest.raises(UserError, match=r"expected \(\.\.\., 112, 96, 3\)"):
        card.normalise(np.zeros(shape, np.uint8))


def test_survives_json():
    card = ModelCard("iresnet50", input_size=(112, 96), colour="BGR", source="somewhere")
    again = ModelCard.from_json(json.loads(json.dumps(card.to_json())))
    assert again == card and hash(again) == hash(card)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"colour": "rgb"}, "colour is 'rgb', use 'RGB' or 'BGR'"),
        ({"input_size": (112,)}, "input_size"),
        ({"input_size": (112, 0)}, "input_size"),
        ({"input_size": 112}, "input_size is 112"),
        ({"mean": (1.0, 2.0)}, "mean is"),
        ({"mean": (1.0, 2.0, float("nan"))}, "mean is"),
        ({"deviation": (1.0, 2.0, 0.0)}, "deviation is"),
        ({"embedding_size": 0}, "embedding_size is 0"),
        ({"size": 3}, "unknown field 'size'"),
        ({"network": ["iresnet18"]}, "network is \\['iresnet18'\\], use a text"),
        ({"source": None}, "source is None, use a text"),
        ({"sha256": 7}, "sha256 is 7, use a text"),
        ({"colour": ["RGB"]}, "colour is \\['RGB'\\]"),
        ({"input_size": {"height": 112}}, "input_size is {"),
        ({"mean": (True, 2, 3)}, "mean is"),
        ({"mean": ("1", 2, 3)}, "mean is"),
        ({"deviation": (10**400, 1, 1)}, "deviation is"),
        ({"embedding_size": True}, "embedding_size is True"),
    ],
)
def test_refuses_what_no_network_has(fields, says):
    with pytest.raises(UserError, match=says) as error:
        ModelCard.from_json({"network": "iresnet18", **fields})
    assert "\n" not in str(error.value)


def test_needs_a_network():
    with pytest.raises(UserError, match="no field 'network'"):
        ModelCard.from_json({})


@pytest.mark.parametrize("card", [[], "iresnet18", None, 3, [["network", "iresnet18"]], "a" * 999])
def test_is_an_object_of_json(card):
    with pytest.raises(
        UserError, match="model card: is .*, use an object with its fields"
    ) as error:
        ModelCard.from_json(json.loads(json.dumps(card)))
    assert len(str(error.value)) < 200
