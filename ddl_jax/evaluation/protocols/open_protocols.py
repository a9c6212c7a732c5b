"""From `config.evaluation.protocols` to protocols."""

from collections.abc import Callable, Sequence

from ddl_jax.config import ProtocolEntry, protocol_entries
from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols import verification
from ddl_jax.evaluation.protocols.cox import open_cox
from ddl_jax.evaluation.protocols.ijb import open_ijb
from ddl_jax.evaluation.protocols.protocol import Protocol
from ddl_jax.evaluation.protocols.rfw import open_rfw
from ddl_jax.evaluation.protocols.scface import open_scface
from ddl_jax.evaluation.protocols.tinyface import open_tinyface

# The benchmarks that are folders, by name. Any other name is that of a list of pairs.
_FOLDERS: dict[str, Callable[[ProtocolEntry], Protocol]] = {
    "rfw": open_rfw,
    "ijbb": open_ijb,
    "ijbc": open_ijb,
    "scface": open_scface,
    "cox": open_cox,
    "tinyface": open_tinyface,
}


def open_protocols(entries: Sequence[str]) -> list[Protocol]:
    """Reads and checks the files of `NAME[:VARIANT]=PATH[@PATH]` entries; see docs/evaluation.md.

    Raises:
      UserError: the first thing that is wrong with any of them.
    """
    return [_open(entry) for entry in protocol_entries(entries)]


def _open(entry: ProtocolEntry) -> Protocol:
    try:
        if entry.kind in _FOLDERS:
            return _FOLDERS[entry.kind](entry)
        if entry.variant:
            raise UserError(f"{entry.kind!r} has no variants; leave out :{entry.variant}")
        if not entry.path.endswith(verification.SUFFIXES):
            raise UserError(
                f"{entry.path!r} ends in none of {', '.join(verification.SUFFIXES)}, and the "
                f"benchmarks that are folders are {', '.join(_FOLDERS)}"
            )
        return verification.open_verification(entry.kind, entry.path, entry.second)
    except UserError as error:
        raise UserError(f"config.evaluation.protocols, {entry.kind}: {error}") from error
