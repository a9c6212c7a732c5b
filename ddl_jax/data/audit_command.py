"""`python -m ddl_jax.data audit`: identities twice, or in another set too, and wrong labels."""

from collections.abc import Sequence

from absl import flags

from ddl_jax import command_line
from ddl_jax import config as config_lib
from ddl_jax.data import command, recognizer_flags, source_flags
from ddl_jax.errors import UserError

_AGAINST = ("source", "path", "split", "identities")


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data audit --path=FOLDER --out=DIR --checkpoint=... [--against_path=...]`

    Looks at a data set with a network: pairs of identities that look like one person, also one of
    another set, and images that look like somebody else. Writes them down (CSV), with a list for
    config.data.exclude. What --against_* leaves empty is as in the first set. See docs/data.md.
    """
    values = flags.FlagValues()
    _define(values)
    if not command.read_flags(argv, values, main.__doc__, "audit"):
        return
    needed = ("out", "checkpoint") if values.source == "synthetic_faces" else _NEEDED
    command.check_given(values, needed, "audit")
    print(_audit(values))


_NEEDED = ("path", "out", "checkpoint")


def _define(values: flags.FlagValues) -> None:
    source_flags.define(values)
    recognizer_flags.define(values)
    command_line.cache_flag(values)
    flags.DEFINE_string("out", "", "The folder for the files.", flag_values=values)
    for name in _AGAINST:
        flags.DEFINE_string(
            f"against_{name}", "", f"--{name} of a set to keep apart.", flag_values=values
        )
    flags.DEFINE_float(
        "same_at",
        None,
        "Cosine of two centres of one person; 95 % of the halves of an identity have more.",
        *(-1.0, 1.0),
        flag_values=values,
    )
    flags.DEFINE_float(
        "margin",
        None,
        "Cosine to the own centre less that to another's, below which a label is taken for wrong; "
        "-0.75 times the median.",
        *(-2.0, 2.0),
        flag_values=values,
    )
    flags.DEFINE_integer("seed", 0, "Of the halves.", lower_bound=0, flag_values=values)


def _audit(values: flags.FlagValues) -> str:
    """Audits -> what to tell."""
    data = source_flags.read(values)
    against = _against(values, data)
    network = recognizer_flags.read(values)
    from ddl_jax.training import audit_data, recognizer  # after the cheap checks: jax is slow

    plan = audit_data.Plan(data, against, values.same_at, values.margin, values.seed)
    cache = command_line.embedding_cache(values)
    told = audit_data.audit_data(plan, values.out, recognizer.Choice(**network), cache)
    command_line.say_taken(cache)
    return told


def _against(values: flags.FlagValues, data: config_lib.Data) -> config_lib.Data | None:
    """The other set, as an evaluation's data beside the training's; None where none is named."""
    given = {name: values[f"against_{name}"].value for name in _AGAINST}
    if not any(given.values()):
        return None
    config = config_lib.Config(data=data)
    config.evaluation.data = config_lib.Data(**given, corrupt="")
    try:
        config_lib.validate(config)
    except UserError as error:
        raise UserError(str(error).replace("config.evaluation.data.", "--against_")) from error
    return config_lib.evaluation_data(config)
