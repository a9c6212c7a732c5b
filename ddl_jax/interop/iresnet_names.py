"""Where a number of our IResNet is in insightface's state dict."""

_SHORTCUT = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
_LEAF = {
    "kernel": "weight",
    "scale": "weight",
    "slope": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def torch_name(path: tuple[str, ...]) -> str:
    """Translates a path below "params" or "batch_stats".

    >>> torch_name(("layer1_0", "downsample_conv", "kernel"))
    'layer1.0.downsample.0.weight'
    """
    *modules, leaf = path
    translated = [_SHORTCUT.get(module, module.replace("_", ".")) for module in modules]
    return ".".join([*translated, _LEAF[leaf]])
