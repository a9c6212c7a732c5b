"""The benchmarks that `config.evaluation` names."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ddl_jax.config.settings import Evaluation, no_data
from ddl_jax.errors import UserError


def validate_evaluation(evaluation: Evaluation) -> None:
    if evaluation.every < -1:
        raise UserError(f"config.evaluation.every is {evaluation.every}; -1 never, 0 at the end")
    if not 0 <= evaluation.faces <= 20:
        raise UserError(f"config.evaluation.faces is {evaluation.faces}; choose 0 (none) to 20")
    protocol_entries(evaluation.protocols)
    if evaluation.data.source != "none":
        return
    if evaluation.data != no_data():
        raise UserError("config.evaluation.data.source=none takes no other setting of that group")
    if evaluation.pairs:
        raise UserError("config.evaluation.pairs is about images of config.evaluation.data: none")


class ProtocolEntry(NamedTuple):
    """An entry of `evaluation.protocols`, `KIND[:VARIANT]=PATH[@SECOND]`."""

    kind: str
    variant: str
    path: str
    second: str


def protocol_entries(entries: Sequence[str]) -> list[ProtocolEntry]:
    """The entries of `evaluation.protocols` in their parts.

    Raises:
      UserError: an entry that is not of this form, or a kind and variant that come twice.
    """
    found: dict[tuple[str, str], ProtocolEntry] = {}
    for entry in entries:
        parts = re.fullmatch(r"(\w[\w.-]*)(?::([\w.-]+))?=([^@]+)(?:@([^@]+))?", entry)
        if parts is None:
            raise UserError(
                f"config.evaluation.protocols has {entry!r}; write NAME=PATH, NAME:VARIANT=PATH "
                "or NAME=PATH@IMAGES, e.g. lfw=DIR/lfw.bin"
            )
        one = ProtocolEntry(*(part or "" for part in parts.groups()))
        if (one.kind, one.variant) in found:
            raise UserError(
                f"config.evaluation.protocols names {one.kind!r} twice, which names its results; "
                "rename one"
            )
        if one.kind in ("domains", "pairs"):
            raise UserError(f"config.evaluation.protocols: {one.kind!r} is taken; choose another")
        found[one.kind, one.variant] = one
    return list(found.values())
