"""`python -m ddl_jax.data split`: easy and hard sets, pairs, and whether they are worth it."""

from collections.abc import Sequence

from absl import flags

from ddl_jax import command_line
from ddl_jax import config as config_lib
from ddl_jax.data import command, recognizer_flags, source_flags
from ddl_jax.data.split_rules import read_rules
from ddl_jax.errors import UserError


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data split --path=FOLDER --out=DIR --rules=RULE,... [--checkpoint=...]`

    Gives every image a domain, and writes split.csv (path,domain,scores) and pairs.csv (positive
    pairs) for training; with --checkpoint also the similarities of the domains under that network
    and whether the split is worth distilling. See docs/data.md.
    """
    values = flags.FlagValues()
    _define(values)
    if not command.read_flags(argv, values, main.__doc__, "split"):
        return
    command.check_given(values, ("path", "out"), "split")
    print(_split(values))


def _define(values: flags.FlagValues) -> None:
    source_flags.define(values)
    recognizer_flags.define(values)
    command_line.cache_flag(values)

    def text(name: str, default: str, meaning: str) -> None:
        flags.DEFINE_string(name, default, meaning, flag_values=values)

    def words(name: str, meaning: str) -> None:
        flags.DEFINE_list(name, [], meaning, flag_values=values)

    text("out", "", "The folder for the files.")
    words("rules", "DOMAIN:SCORE<NUMBER, or NUMBER% for a quantile: the first that fits wins.")
    words("scores", "More scores to write, beside those of the rules.")
    text("landmarks", "", "A file or folder of five landmarks an image, for yaw and roll.")
    text("table", "", "A CSV with a column `path`; its other columns are scores.")
    words("domains", "Of training, the teacher first; easy and then all others.")
    text("train_identities", "", "Of whom pairs are made, as --identities; all of these.")
    text("pairs", "same_domain", "Of a hard domain: same_domain or easy_hard.")
    flags.DEFINE_integer(
        "pairs_per_identity", 16, "At most, in each domain.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_float(
        "minimum_similarity", None, "Pairs below it are left out.", -1.0, 1.0, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Of the choice of pairs.", lower_bound=0, flag_values=values)


def _split(values: flags.FlagValues) -> str:
    """Splits -> what to tell."""
    kinds = ("same_domain", "easy_hard")
    if values.pairs not in kinds:
        raise UserError(f"--pairs is {values.pairs!r}; choose one of {', '.join(kinds)}")
    if len(set(values.domains)) != len(values.domains):
        raise UserError(f"--domains is {','.join(values.domains)}; name every domain once")
    data: config_lib.Data = source_flags.read(values)
    rules, network = read_rules(values.rules), recognizer_flags.read(values)
    from ddl_jax.training import recognizer, split_data  # after the cheap checks: jax is slow

    plan = split_data.Plan(
        data=data,
        rules=tuple(rules),
        scores=tuple(values.scores),
        landmarks=values.landmarks,
        table=values.table,
        domains=tuple(values.domains),
        train_identities=values.train_identities,
        pairs=values.pairs,
        pairs_per_identity=values.pairs_per_identity,
        minimum_similarity=values.minimum_similarity,
        seed=values.seed,
    )
    choice = network and recognizer.Choice(**network)
    cache = choice and command_line.embedding_cache(values)
    told = split_data.split_data(plan, values.out, choice, cache)
    command_line.say_taken(cache)
    return told
