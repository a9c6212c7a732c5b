"""A pickle reader that builds plain data and never runs what a file names.

`pickle.load` imports and calls whatever the file asks for. Files of faces and of weights come from
strangers, so here a name in the file is only a key into a table of our own functions. Everything
that table returns is immutable or ignores pickle's BUILD instruction: not even an attribute of
ours can be changed. NumPy's own `dtype.__setstate__` trusts its argument (it lets a file declare
pointers to be numbers), hence the stand-ins below.

A name that is not in the table is refused. A caller that reads only a part of what it gets may ask
for placeholders instead: then a file may name a class and hold its objects, which come up empty. To
call what is not in the table, as code in a pickle must, is refused by its name all the same.
"""

import pickle
import pickletools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn, Self

import numpy as np

from ddl_jax.errors import UserError

# What a damaged stream makes the C unpickler raise, whichever instruction it trips over.
_DAMAGED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class Constructor:
    """What a global name stands for: calls our function and has no state to tamper with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("state for a function")


class _Uncalled(type):
    """A class whose objects pickle makes by `__new__`; calling it, as for a function, refuses."""

    def __call__(cls, *_: Any) -> NoReturn:
        raise UserError(cls.refusal)

    def __repr__(cls) -> str:
        return cls.named


class Placeholder:
    """Stands in for an object: takes whatever a pickle gives it, and keeps nothing.

    Attributes:
      named: the full name of its class in the file; empty where the file called a function.
    """

    __slots__ = ()
    named = ""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...  # of a dict's subclass

    def extend(self, items: Any) -> None: ...  # a list's

    def add(self, item: Any) -> None: ...  # a set's


def load(
    file: BinaryIO,
    *,
    path: str,
    allowed: Mapping[str, Callable[..., Any] | str] | None = None,
    placeholders: bool = False,
    persistent_load: Callable[[Any], Any] | None = None,
    encoding: str = "bytes",
) -> Any:
    """Reads one pickle and leaves `file` behind it.

    Builds None, bools, numbers, strings, bytes, lists, tuples, dicts and sets, NumPy arrays and
    scalars of bool, integer, float and complex types, and what `allowed` adds.

    Args:
      file: open for reading, seekable.
      path: the file's name, for messages.
      allowed: "module.name" to the function that stands in for it, or to a string where the file
        only mentions the name. Neither may return an object that can be told to run something.
      placeholders: a name that is not allowed comes back as a class of its own, its objects as
        instances of `Placeholder`; only a call of one is refused.
      persistent_load: resolves persistent ids; without it they are refused.
      encoding: of Python 2 strings; "bytes" leaves them bytes, as JPEG files in `.bin` need.

    Returns:
      The object.

    Raises:
      UserError: the pickle names, or calls, anything else (nothing is executed), or is damaged.
    """
    names = {**_PLAIN, **(allowed or {})}
    try:
        with warnings.catch_warnings():
            # A damaged text may hold an escape that Python warns of: the line below tells enough.
            warnings.simplefilter("ignore", DeprecationWarning)
            _check_memo(file)
            return _Unpickler(file, path, names, placeholders, persistent_load, encoding).load()
    except UserError:
        raise
    except _DAMAGED as error:
        raise UserError(
            f"{path}: the pickle in it is damaged ({error}): fetch or write the file again"
        ) from error


def _check_memo(file: BinaryIO) -> None:
    """Refuses a pickle whose memo has holes: the C unpickler takes memory up to its last index."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise pickle.UnpicklingError(f"memo index {argument}")
    file.seek(start)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, path, names, placeholders, persistent_load, encoding):
        super().__init__(file, encoding=encoding)
        self._path = path
        self._names = names
        self._placeholders: dict[str, type] | None = {} if placeholders else None
        self._persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Constructor | str | type:
        full_name = f"{module}.{name}"
        if full_name in self._names:
            stand_in = self._names[full_name]
            return stand_in if isinstance(stand_in, str) else Constructor(stand_in)
        refusal = (
            f"{self._path}: the pickle in it asks for {full_name!r}, which is not plain data; "
            "refused, nothing was run: if you trust its source, save only its arrays there"
        )
        if self._placeholders is None:
            raise UserError(refusal)
        if full_name not in self._placeholders:
            own = {"__slots__": (), "named": full_name, "refusal": refusal}
            self._placeholders[full_name] = _Uncalled("_Named", (Placeholder,), own)
        return self._placeholders[full_name]

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent_load is None:
            raise pickle.UnpicklingError("a persistent id")
        return self._persistent_load(pid)


class _Dtype:
    """Stands in for `numpy.dtype`; reads nothing of its state but the byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any):
        code = code.decode("ascii") if isinstance(code, bytes) else code
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in "biufc":
            raise pickle.UnpicklingError(f"an array of type {_short(code)}")
        self.dtype = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array that takes its contents from a pickle only through a checked `dtype`."""

    _filled = False

    def __new__(cls) -> Self:
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # NumPy frees the old contents, on which another array may be a view.
        if self._filled:
            raise pickle.UnpicklingError("an array that is filled twice")
        self._filled = True
        _, shape, dtype, fortran_order, data = state
        super().__setstate__((1, shape, _plain_dtype(dtype), bool(fortran_order), data))


def _plain_dtype(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError(f"a type {_short(dtype)}")
    return dtype.dtype


def _short(value: Any) -> str:
    """A text, or the kind of anything else: a list in a list in a list may have no end as text."""
    return repr(value[:40]) if isinstance(value, str | bytes) else type(value).__name__


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: bytes) -> np.generic:
    return np.frombuffer(data, _plain_dtype(dtype), count=1)[0]


def _from_buffer(data: Any, dtype: Any, shape: tuple[int, ...], order: str) -> np.ndarray:
    if not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError(f"an array in a {type(data).__name__}")
    found = np.frombuffer(data, _plain_dtype(dtype)).reshape(shape, order=order).view(_Array)
    found._filled = True
    return found


def _encode(text: str, encoding: str) -> bytes:
    # Python 3 writes bytes like this in protocol 2, and with no other encoding.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {_short(encoding)}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_PLAIN: dict[str, Callable[..., Any] | str] = {
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "builtins.bytes": _no_bytes,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": "numpy.ndarray",
    # NumPy 1 and 2 write the same functions under two names.
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
