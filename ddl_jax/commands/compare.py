"""`python eval.py compare RUN_A RUN_B ...`: runs side by side, and which differences are chance."""

from collections.abc import Sequence

from absl import flags
from etils import epath

from ddl_jax import command_line, files
from ddl_jax import config as config_lib
from ddl_jax.errors import UserError


def main(argv: Sequence[str]) -> None:
    """`python eval.py compare RUN_A RUN_B [RUN_C ...] [--name=NAME] [--out=DIR]`

    Compares the newest evaluations of work directories, every metric of each with the first one's
    on the same pairs and people: a table, compare.html and compare.json. They must have been
    evaluated on the same files in the same way. See docs/comparison.md.
    """
    values = flags.FlagValues()
    flags.DEFINE_string(
        "name",
        "",
        "Of the evaluations; those on the runs' own data, or else on protocols.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "out", "", "A folder for the files; the last run's evaluation.", flag_values=values
    )
    runs = command_line.words(argv, values, main.__doc__)
    if runs is None:
        return
    if len(runs) < 2:
        raise UserError(f"compare takes two or more work directories; {len(runs)} given")
    for run in runs:
        if not epath.Path(run).is_dir():
            raise UserError(f"no work directory {run!r}; give those of evaluated runs")
    if values.name:
        config_lib.check_name(values.name)
    if values.out:
        files.check_folder(values.out, flag="--out")
    print(_compare(runs, values.name, values.out))


def _compare(runs: Sequence[str], name: str, out: str) -> str:
    from ddl_jax.evaluation.compare import compare
    from ddl_jax.evaluation.comparison_report import comparison_table, write_comparison
    from ddl_jax.evaluation.evaluate import latest_evaluation

    try:
        directories = [latest_evaluation(run, name) for run in runs]
    except UserError as error:
        try:
            directories = [latest_evaluation(run, name or "protocols") for run in runs]
        except UserError:
            raise error from None
    columns = dict(zip(_columns(runs), directories))
    compared = compare(columns)
    place = epath.Path(out) if out else directories[-1]
    try:
        page = write_comparison(place, compared)
    except OSError as error:
        told = error.strerror or error
        raise UserError(f"{place} cannot be written: {told}; give another --out=DIR") from error
    return f"{comparison_table(compared)}\n{page}"


def _columns(runs: Sequence[str]) -> list[str]:
    """The runs' names: the last parts of their paths, or as much of these as tells them apart."""
    parts = [files.absolute(run).parts for run in runs]
    if len(set(parts)) < len(parts):
        raise UserError("a run is given twice; give different ones")
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(runs)
