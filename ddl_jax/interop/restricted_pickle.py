"""A pickle reader that builds plain data and never runs what a file names.

`pickle.load` imports and calls whatever the file asks for. Files of faces and of weights come from
strangers, so here a name in the file is only a key into a table of our own functions. Everything
that table returns is immutable or ignores pickle's BUILD instruction: not even an attribute of
ours can be changed. NumPy's own `dtype.__setstate__` trusts its argument (it lets a file declare
pointers to be numbers), hence the stand-ins below.

A name that is not in the table is refused. A caller that reads only a part of what it gets may ask
for placeholders instead: then a file may name a class and hold its objects, which come up empty. To
call what is not in the table, as code in a pickle must, is refused by its name all the same.

Few bytes can also ask for endless work: a tuple that holds one tuple twice, forty levels deep, has
2**40 items to whoever hashes or prints it. So a key is measured before it is hashed, and messages
show a value by `one_line.short`.
"""

import itertools
import pickle
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, BinaryIO, ClassVar, NoReturn, Self

import numpy as np

from ddl_jax.errors import UserError
from ddl_jax.interop.one_line import cut, short

# What a damaged stream makes the unpickler raise, whichever instruction it trips over.
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
    struct.error,
)
# Of a key of a dict, nested ones counted; an optimizer's and a trainer's have a handful.
_MOST_PARTS = 100
# To our functions, bytes and items together, for a byte of the file.
_MOST_GIVEN = 4


class Constructor:
    """What a global name stands for: calls our function and has no state to tamper with."""

    __slots__ = ("_function", "_measure")

    def __init__(self, function: Callable[..., Any], measure: Callable[[Iterable[Any]], None]):
        self._function = function
        self._measure = measure

    def __call__(self, *args: Any) -> Any:
        self._measure(args)
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
      file: open for reading; in memory, for a read of more than is there must cost nothing.
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
            return _Unpickler(file, path, names, placeholders, persistent_load, encoding).load()
    except UserError:
        raise
    except _DAMAGED as error:
        raise UserError(
            f"{path}: the pickle in it is damaged ({cut(error)}): fetch or write the file again"
        ) from error


def check_keys(keys: Iterable[Any]) -> None:
    """Refuses a key that takes long to hash."""
    for key in keys:
        parts, left = 0, [key]
        while left and parts <= _MOST_PARTS:
            part = left.pop()
            parts += 1
            if isinstance(part, tuple | frozenset):
                left += itertools.islice(part, _MOST_PARTS)
            elif isinstance(part, int):
                parts += part.bit_length() // 64
        if parts > _MOST_PARTS:
            raise pickle.UnpicklingError(f"a key of more than {_MOST_PARTS} parts")


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler in Python: the one in C has no place to look at a key before its use,
    and takes memory for every number below the highest of its memo.
    """

    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)

    def _load_setitem(self) -> None:
        check_keys(self.stack[-2:-1])
        super().load_setitem()

    def _load_setitems(self) -> None:
        check_keys(self.stack[::2])  # all since the mark
        super().load_setitems()

    def _load_dict(self) -> None:
        check_keys(self.stack[::2])
        super().load_dict()

    def _load_additems(self) -> None:
        check_keys(self.stack)
        super().load_additems()

    def _load_frozenset(self) -> None:
        check_keys(self.stack)
        super().load_frozenset()

    def _load_build(self) -> None:
        state = self.stack[-1]
        self._measure(state if isinstance(state, tuple) else (state,))
        super().load_build()

    def _load_bytearray8(self) -> None:
        # Python takes the memory before it reads, whatever length the file claims.
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch |= {
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FROZENSET[0]: _load_frozenset,
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
    }

    def __init__(self, file, path, names, placeholders, persistent_load, encoding):
        super().__init__(file, encoding=encoding)
        self._path = path
        self._names = names
        self._placeholders: dict[str, type] | None = {} if placeholders else None
        self._persistent_load = persistent_load
        self._file = file
        self._start = file.tell()
        self._given = 0

    def _measure(self, values: Iterable[Any]) -> None:
        """Refuses functions more than the file: one text of it a million times, each copied."""
        self._given += sum(len(value) for value in values if isinstance(value, Sized))
        if self._given > _MOST_GIVEN * (self._file.tell() - self._start):
            raise pickle.UnpicklingError("its functions are given more than it holds")

    def find_class(self, module: str, name: str) -> Constructor | str | type:
        full_name = f"{module}.{name}"
        if full_name in self._names:
            stand_in = self._names[full_name]
            if isinstance(stand_in, str):
                return stand_in
            return Constructor(stand_in, self._measure)
        refusal = (
            f"{self._path}: the pickle in it asks for {short(full_name)}, which is not plain data; "
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
            raise pickle.UnpicklingError(f"an array of type {short(code)}")
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
        raise pickle.UnpicklingError(f"a type {short(dtype)}")
    return dtype.dtype


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
        raise pickle.UnpicklingError(f"bytes in encoding {short(encoding)}")
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
