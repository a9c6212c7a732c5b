"""`python -m ddl_jax.interop show FILE`: whose weights a PyTorch checkpoint holds."""

import sys
from collections.abc import Sequence

from absl import flags

from ddl_jax import command_line, config
from ddl_jax.errors import UserError


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.interop show FILE [--network=NAME] [--input_size=112,112]`

    Prints the network that a PyTorch checkpoint holds, which of its tensors goes where, and the
    settings that start a run from it.
    """
    values = flags.FlagValues()
    flags.DEFINE_string(
        "network", "", "Its name, where the file's are unknown.", flag_values=values
    )
    flags.DEFINE_list("input_size", ["112", "112"], "Height, width in pixels.", flag_values=values)
    command = command_line.words(argv, values, main.__doc__)
    if command is None:
        return
    if command[:1] != ["show"]:
        given = " ".join(command)
        raise UserError(f"unknown command {given!r}; write python -m ddl_jax.interop show FILE")
    if len(command) != 2:
        raise UserError(f"show takes one FILE, not {len(command) - 1}")
    sizes = values.input_size
    if len(sizes) != 2 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise UserError(f"--input_size is {','.join(sizes)!r}; give height,width in pixels")
    print(_show(command[1], values.network, (int(sizes[0]), int(sizes[1]))))


def _show(path: str, network: str, input_size: tuple[int, int]) -> str:
    from ddl_jax import interop  # after the cheap checks: jax is slow to import

    weights = interop.read_torch_backbone(path, network or None, input_size=input_size)
    origin = weights.origin
    settings = {
        "init_from.path": path,
        "init_from.head": "class_means",
        "model.name": weights.network,
        "model.embedding_size": weights.variables["batch_stats"]["features"]["mean"].shape[0],
        "model.input_size": input_size,
    }
    saved = f", saved as by {origin.project}" if origin.project else ""
    lines = [f"{weights.network}{saved}; sha256 {weights.sha256}"]
    if origin.colour:
        settings |= {
            "model.colour": origin.colour,
            "model.mean": origin.mean,
            "model.deviation": origin.deviation,
        }
    lines += config.as_flags(settings)
    if not origin.colour:
        lines.append(
            "and what its authors trained with, which is not in the file: "
            "--config.model.colour=RGB or BGR, --config.model.mean=R,G,B and "
            "--config.model.deviation=R,G,B, of 0..255"
        )
    return "\n".join([*lines, "", weights.report()])


if __name__ == "__main__":
    sys.exit(command_line.run(main, ["ddl_jax.interop", *sys.argv[1:]]))
