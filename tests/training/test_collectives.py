"""What the compiled step sends between devices: embeddings and gradients, never class centres."""

import pytest

from benchmarks.compiled_step import Collective, collectives, size_of
from ddl_jax import parallel

from .conftest import make_batch

# As XLA writes them; the second has operands, the third runs beside others.
PROGRAM = """
  %all-reduce.1 = f32[512,8]{1,0} all-reduce(%add.3), channel_id=1, to_apply=%sum
  %all-reduce.2 = (f32[], bf16[3]{0}) all-reduce(%a, %b), replica_groups={{0,1}}
  %start = (f32[2,4]{1,0}, f32[8,4]{1,0}) all-gather-start(%c), dimensions={0}
  %done = f32[8,4]{1,0} all-gather-done(%start)
  %fusion = f32[8,4]{1,0} fusion(%done), calls=%all-gather.5
"""


def test_collectives_are_read_from_a_program():
    assert collectives(PROGRAM) == [
        Collective("all-reduce", 512 * 8 * 4),
        Collective("all-reduce", 4 + 3 * 2),
        Collective("all-gather", 8 * 4 * 4),
    ]


@pytest.mark.parametrize("kind", ["images", pytest.param("ddl", marks=pytest.mark.long)])
def test_class_centres_stay_where_they_are(kind, trainer):
    gathered = {}
    for devices in (2, 8):
        small = trainer(kind, devices=devices)
        state, batch = small.new_state(), make_batch(small.config, 0)
        batch = parallel.global_batch(small.mesh, batch)
        found = collectives(small.step(state).lower(state, batch).compile().as_text())
        backbone, centres = (size_of(state.params[name]) for name in ("backbone", "heads"))
        assert backbone < centres / 4
        assert max(one.size for one in found) <= backbone
        assert backbone <= sum(one.size for one in found) < centres
        gathered[devices] = sum(one.size for one in found if one.kind == "all-gather")
    # As many rows in all: as many embeddings come together, on however many devices.
    assert gathered[2] == gathered[8] > 0
