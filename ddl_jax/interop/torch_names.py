"""Where a number of our backbones is in the state dicts of their PyTorch authors."""

from collections.abc import Callable
from typing import NamedTuple

from ddl_jax.models import create_backbone
from ddl_jax.models.mobilefacenet import MobileFaceNet

_LEAF = {
    "kernel": "weight",
    "scale": "weight",
    "slope": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Naming(NamedTuple):
    """The names of one project.

    Attributes:
      module: our module's path below "params" or "batch_stats" to theirs.
      linear: our modules that are `nn.Linear` there; other matrices are 1x1 convolutions.
      registered: parts of the names, in the order in which a file lists them; empty where that is
        the order in which the layers are applied.
    """

    module: Callable[[tuple[str, ...]], str]
    linear: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()

    def tensor(self, path: tuple[str, ...]) -> str:
        """The name of a tensor.

        >>> naming_of("iresnet50").tensor(("layer1_0", "downsample_conv", "kernel"))
        'layer1.0.downsample.0.weight'
        """
        return f"{self.module(path[:-1])}.{_LEAF[path[-1]]}"

    def place(self, path: tuple[str, ...]) -> list[tuple[bool, int]]:
        """By which layers sort as a file lists them; layers of one place as they are applied."""

        def place_of(part: str) -> tuple[bool, int]:
            if part.isdecimal():
                return False, int(part)
            known = part in self.registered
            return True, self.registered.index(part) if known else len(self.registered)

        return [place_of(part) for part in self.module(path[:-1]).split(".")]


def _iresnet(path: tuple[str, ...]) -> str:
    shortcut = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
    return ".".join(shortcut.get(module, module.replace("_", ".")) for module in path)


# IR and IR-SE of TFace and AdaFace: one Sequential of blocks, each with a Sequential of layers.
_IR_BLOCK = {
    ("bn1",): "res_layer.0",
    ("conv1",): "res_layer.1",
    ("bn2",): "res_layer.2",
    ("prelu",): "res_layer.3",
    ("conv2",): "res_layer.4",
    ("bn3",): "res_layer.5",
    ("se", "squeeze"): "res_layer.se_block.fc1",
    ("se", "excite"): "res_layer.se_block.fc2",
    ("downsample_conv",): "shortcut_layer.0",
    ("downsample_bn",): "shortcut_layer.1",
}
_IR = {
    "conv1": "input_layer.0",
    "bn1": "input_layer.1",
    "prelu": "input_layer.2",
    "bn2": "output_layer.0",
    "fc": "output_layer.3",
    "features": "output_layer.4",
}
_IR_REGISTERED = ("input_layer", "output_layer", "body", "shortcut_layer", "res_layer")


def _ir(depths: tuple[int, ...]) -> Naming:
    def module(path: tuple[str, ...]) -> str:
        if not path[0].startswith("layer"):
            return _IR[path[0]]
        stage, index = map(int, path[0].removeprefix("layer").split("_"))
        return f"body.{sum(depths[: stage - 1]) + index}.{_IR_BLOCK[path[1:]]}"

    return Naming(module, linear=("fc",), registered=_IR_REGISTERED)


# MobileFaceNet, the ReLU6 form: blocks are MobileNetV2's, two Sequentials deep.
_RELU6 = {
    ("stem", "conv"): "conv1.0",
    ("stem", "bn"): "conv1.1",
    ("stem_depthwise", "conv"): "dw_conv.depthwise",
    ("stem_depthwise", "bn"): "dw_conv.bn1",
    ("stem_pointwise", "conv"): "dw_conv.pointwise",
    ("stem_pointwise", "bn"): "dw_conv.bn2",
    ("expand", "conv"): "conv.0.0",
    ("expand", "bn"): "conv.0.1",
    ("depthwise", "conv"): "conv.1.0",
    ("depthwise", "bn"): "conv.1.1",
    ("project", "conv"): "conv.2",
    ("project", "bn"): "conv.3",
    ("last", "conv"): "conv2.0",
    ("last", "bn"): "conv2.1",
    ("pool", "conv"): "gdconv.depthwise",
    ("pool", "bn"): "gdconv.bn",
    ("embedding",): "conv3",
    ("features",): "bn",
}
_RELU6_REGISTERED = (
    *("conv1", "dw_conv", "conv2", "gdconv", "conv3"),
    *("depthwise", "pointwise", "bn1", "bn2", "bn", "features"),
)
# The PReLU form: a block is one Sequential of convolution, BatchNorm, PReLU three times over.
_PRELU = {
    **{
        (ours, layer): f"{theirs}.{layer}"
        for ours, theirs in (
            ("stem", "conv1"),
            ("stem_depthwise", "dw_conv1"),
            ("last", "conv2"),
            ("pool", "linear7"),
        )
        for layer in ("conv", "bn", "prelu")
    },
    **{
        (part, layer): f"conv.{3 * i + j}"
        for i, part in enumerate(("expand", "depthwise", "project"))
        for j, layer in enumerate(("conv", "bn", "prelu"))
    },
    ("embedding",): "linear1.conv",
    ("features",): "linear1.bn",
}


def _mobilefacenet(
    table: dict[tuple[str, ...], str], blocks: str, registered: tuple[str, ...] = ()
) -> Naming:
    def module(path: tuple[str, ...]) -> str:
        if path[0].startswith("block_"):
            return f"{blocks}.{path[0].removeprefix('block_')}.{table[path[1:]]}"
        return table[path]

    return Naming(module, registered=registered)


# insightface's form: a list of layers, of single blocks and of runs of residual ones.
_MBF_LAYERS = ("conv", "bn", "prelu")
_MBF = {
    "stem": "layers.0",
    "stem_depthwise": "layers.1",
    "last": "conv_sep",
    "pool": "features.layers.0",
    "embedding": "features.layers.2",
    "features": "features.layers.3",
}


def _mbf(network: MobileFaceNet) -> Naming:
    blocks = [
        # Blocks that keep the size of the map come in runs, one level deeper.
        f"layers.{number}" + (f".layers.{index}" if stage.stride == 1 else "")
        for number, stage in enumerate(network.stages, 2 if network.second else 1)
        for index in range(stage.depth)
    ]

    def module(path: tuple[str, ...]) -> str:
        if path[0].startswith("block_"):
            part = ("expand", "depthwise", "project").index(path[1])
            theirs = f"{blocks[int(path[0].removeprefix('block_'))]}.layers.{part}"
        else:
            theirs = _MBF[path[0]]
        return theirs if len(path) == 1 else f"{theirs}.layers.{_MBF_LAYERS.index(path[-1])}"

    return Naming(module, linear=("embedding",))


def naming_of(name: str) -> Naming:
    """The names under which a backbone's authors save it."""
    if name == "mobilefacenet":
        return _mobilefacenet(_PRELU, "blocks")
    if name == "mobilefacenet_relu6":
        return _mobilefacenet(_RELU6, "features", _RELU6_REGISTERED)
    if name.startswith("mbf"):
        return _mbf(create_backbone(name))
    if name.startswith("ir_"):
        return _ir(create_backbone(name).depths)
    return Naming(_iresnet, linear=("fc",))
