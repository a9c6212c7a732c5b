"""A face detector in the form of OpenCV's YuNet, written out by hand: small, but a real network."""

from collections.abc import Iterable

import numpy as np

_FLOAT, _INT64 = 1, 7  # ONNX's numbers of element types
_INTS = 7  # and of attributes
_STRIDES = (8, 16, 32)


def bright_cell_detector(landmarks: np.ndarray) -> bytes:
    """The .onnx file of a YuNet for which every white cell of 32 pixels is a face.

    Args:
      landmarks: `[5, 2]`, in pixels from the cell's corner, of each such face.
    """
    nodes, tensors, outputs = [], [], []
    for stride in _STRIDES:
        # What YuNet says of every cell: class, object, box and points, in cells from its corner.
        says = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        for kind, channels in says.items():
            name = f"{kind}_{stride}"
            weights = np.zeros((channels, 3, stride, stride))
            bias = np.zeros(channels)
            if stride == 32 and kind in ("cls", "obj"):
                weights[:] = 1 / (255 * weights[0].size)  # the cell's brightness
            if stride == 32 and kind == "kps":
                bias = np.ravel(landmarks) / stride
            tensors += [
                _tensor(f"{name}_w", weights, _FLOAT),
                _tensor(f"{name}_b", bias, _FLOAT),
                _tensor(f"{name}_shape", np.array([1, channels, -1]), _INT64),
            ]
            grid, flat = f"{name}_grid", f"{name}_flat"
            conv = _ints("kernel_shape", [stride] * 2), _ints("strides", [stride] * 2)
            nodes += [
                _node("Conv", ["input", f"{name}_w", f"{name}_b"], grid, conv),
                _node("Reshape", [grid, f"{name}_shape"], flat),
                _node("Transpose", [flat], name, [_ints("perm", [0, 2, 1])]),
            ]
            outputs.append(_value(name, [1, "n", channels]))
    graph = [_field(1, node) for node in nodes] + [_field(2, "yunet")]
    graph += [_field(5, tensor) for tensor in tensors]
    graph += [_field(11, _value("input", [1, 3, "h", "w"]))]
    graph += [_field(12, output) for output in outputs]
    opset = _field(1, "") + _field(2, 12)
    return _field(1, 8) + _field(7, b"".join(graph)) + _field(8, opset)


def _tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    raw = values.astype(np.float32 if kind == _FLOAT else np.int64).tobytes()
    dims = b"".join(_field(1, size) for size in values.shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, raw)


def _node(kind: str, inputs: Iterable[str], output: str, attributes: Iterable[bytes] = ()) -> bytes:
    parts = [_field(1, name) for name in inputs] + [_field(2, output), _field(4, kind)]
    return b"".join(parts + [_field(5, attribute) for attribute in attributes])


def _ints(name: str, values: Iterable[int]) -> bytes:
    return _field(1, name) + b"".join(_field(8, value) for value in values) + _field(20, _INTS)


def _value(name: str, shape: Iterable[int | str]) -> bytes:
    sizes = (_field(2, size) if isinstance(size, str) else _field(1, size) for size in shape)
    dims = b"".join(_field(1, size) for size in sizes)
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, dims)))


def _field(number: int, value: int | str | bytes) -> bytes:
    """A field of protocol buffers: a number, or bytes with their length before them."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
