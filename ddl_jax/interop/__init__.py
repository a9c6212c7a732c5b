"""Files of other frameworks: data sets and weights as others write them, networks as StableHLO.

A name's module is imported when the name is first used: those who read data must not wait for JAX.
"""

import importlib
from typing import Any

# A name to the module that has it. `RecordIOSource` is a `Source`, so its home is the data room.
_HOMES = {
    "RecordIOSource": "ddl_jax.data.recordio_source",
    "TorchWeights": "ddl_jax.interop.torch_backbone",
    "export_stablehlo": "ddl_jax.interop.stablehlo",
    "export_torch": "ddl_jax.interop.torch_export",
    "load_stablehlo": "ddl_jax.interop.stablehlo",
    "load_torch_backbone": "ddl_jax.interop.torch_backbone",
    "read_torch_backbone": "ddl_jax.interop.torch_backbone",
    "read_torch_checkpoint": "ddl_jax.interop.torch_checkpoint",
    "read_verification_bin": "ddl_jax.interop.verification_bin",
    "recognise_torch_backbone": "ddl_jax.interop.torch_backbone",
    "save_torch_backbone": "ddl_jax.interop.torch_backbone",
    "write_recordio": "ddl_jax.interop.recordio",
    "write_torch_checkpoint": "ddl_jax.interop.torch_writer",
    "write_verification_bin": "ddl_jax.interop.verification_bin",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
