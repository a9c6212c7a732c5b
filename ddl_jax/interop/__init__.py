"""Files of other frameworks: weights in PyTorch's checkpoints, networks as StableHLO."""

from ddl_jax.interop.stablehlo import export_stablehlo as export_stablehlo
from ddl_jax.interop.stablehlo import load_stablehlo as load_stablehlo
from ddl_jax.interop.torch_backbone import TorchWeights as TorchWeights
from ddl_jax.interop.torch_backbone import load_torch_backbone as load_torch_backbone
from ddl_jax.interop.torch_backbone import read_torch_backbone as read_torch_backbone
from ddl_jax.interop.torch_backbone import recognise_torch_backbone as recognise_torch_backbone
from ddl_jax.interop.torch_backbone import save_torch_backbone as save_torch_backbone
from ddl_jax.interop.torch_checkpoint import read_torch_checkpoint as read_torch_checkpoint
from ddl_jax.interop.torch_writer import write_torch_checkpoint as write_torch_checkpoint
