"""A checkpoint of AdaFace as Lightning's trainer saves it, pickled by pickle itself."""

import argparse
import collections
import pathlib
import pickle
import sys
import types
import zipfile
from typing import NamedTuple
from unittest import mock

import numpy as np

# What such a file names, beside the standard library; a module's packages before it.
_NAMED = {
    "torch": ("FloatStorage", "LongStorage"),
    "torch._utils": ("_rebuild_tensor_v2",),
    "pytorch_lightning": (),
    "pytorch_lightning.callbacks": (),
    "pytorch_lightning.callbacks.model_checkpoint": ("ModelCheckpoint",),
    "pytorch_lightning.utilities": (),
    "pytorch_lightning.utilities.parsing": ("AttributeDict",),
}


def _stand_ins() -> dict[str, types.ModuleType]:
    """Modules that pickle can import while it writes these names; nothing in them does anything."""
    modules = {name: types.ModuleType(name) for name in _NAMED}
    for module, names in _NAMED.items():
        for name in names:
            setattr(modules[module], name, type(name, (dict,), {"__module__": module}))
    return modules


class _Storage(NamedTuple):
    kind: type
    array: np.ndarray


class _Tensor:
    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array).reshape(array.shape)

    def __reduce__(self):
        name = {"float32": "FloatStorage", "int64": "LongStorage"}[self.array.dtype.name]
        storage = _Storage(getattr(sys.modules["torch"], name), self.array)
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        args = (storage, 0, self.array.shape, strides, False, collections.OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, args


class _Pickler(pickle.Pickler):
    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.arrays: list[np.ndarray] = []

    def persistent_id(self, obj):
        if not isinstance(obj, _Storage):
            return None
        self.arrays.append(obj.array)
        return ("storage", obj.kind, str(len(self.arrays) - 1), "cuda:0", obj.array.size)


def _checkpoint(state: dict[str, np.ndarray], more: dict) -> dict:
    of_lightning = sys.modules["pytorch_lightning.callbacks.model_checkpoint"].ModelCheckpoint
    settings = sys.modules["pytorch_lightning.utilities.parsing"].AttributeDict
    momentum = {"momentum_buffer": _Tensor(np.ones((2, 2), np.float32))}
    group = {"lr": 0.001, "momentum": 0.9, "nesterov": False, "initial_lr": 0.1, "params": [0]}
    score = _Tensor(np.array(0.97, np.float32))
    milestones = collections.Counter([12, 20, 24])
    return {
        "epoch": 25,
        "global_step": 295_802,
        "pytorch-lightning_version": "1.4.4",
        "state_dict": collections.OrderedDict(
            (name, _Tensor(np.asarray(array))) for name, array in state.items()
        ),
        "callbacks": {of_lightning: {"monitor": "val_acc", "best_model_score": score}},
        "optimizer_states": [
            {"state": collections.defaultdict(dict, {0: momentum}), "param_groups": [group]}
        ],
        "lr_schedulers": [
            {"milestones": milestones, "gamma": 0.1, "base_lrs": [0.1], "_last_lr": [0.001]}
        ],
        "hparams_name": "kwargs",
        "hyper_parameters": settings(
            arch="ir_101",
            arguments=argparse.Namespace(head="adaface", h=0.333),
            data_root=pathlib.PosixPath("/data"),
            domains={"low", "high"},
        ),
        **more,
    }


def write_lightning(path, state: dict[str, np.ndarray], **more) -> None:
    """Writes a zip file of torch's form; `more` are entries beside the state dict."""
    with mock.patch.dict(sys.modules, _stand_ins()), zipfile.ZipFile(path, "w") as archive:
        with archive.open("adaface/data.pkl", "w") as file:
            pickler = _Pickler(file)
            pickler.dump(_checkpoint(state, more))
        for key, array in enumerate(pickler.arrays):
            archive.writestr(f"adaface/data/{key}", array.tobytes())
        archive.writestr("adaface/version", b"3\n")
