"""A network that cannot be made of a config is refused by the key of the settings."""

import pytest

from ddl_jax.config import Config, Model, validate
from ddl_jax.errors import UserError
from ddl_jax.training.state import make_module


@pytest.mark.parametrize(
    "model, told",
    [
        ({"remat": (5,)}, "config.model: remat has stage 5: iresnet_tiny has stages 1 to 4"),
        ({"batch_norm": "groups"}, "config.model: batch_norm_group is 0 with batch_norm='groups'"),
        ({"batch_norm_group": 4}, "config.model: batch_norm_group is 4 with batch_norm='global'"),
        ({"name": "iresnet19"}, "config.model: unknown backbone 'iresnet19': use one of"),
    ],
)
def test_what_no_network_can_have_is_refused_by_its_key(model, told):
    config = Config(model=Model(**{"name": "iresnet_tiny"} | model))
    validate(config)  # knows no network
    with pytest.raises(UserError) as caught:
        make_module(config)
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)
