"""Evaluating a checkpoint after its training, beside earlier runs."""

from collections.abc import Sequence

import jax
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.config import Config
from ddl_jax.errors import UserError
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.evaluate import (
    EvaluationData,
    check_same_protocol,
    evaluate,
    evaluation_directory,
    latest_evaluation,
    open_evaluation,
    protocol_card,
    report,
    write_evaluation,
)
from ddl_jax.files import absolute
from ddl_jax.training import identities
from ddl_jax.training.checkpoint import Checkpoints, load_checkpoint, newest_step, read_config
from ddl_jax.training.metrics import read_metrics


def evaluate_workdir(
    workdir: epath.PathLike,
    config: Config | None = None,
    *,
    step: int | None = None,
    before: Sequence[epath.PathLike] = (),
    name: str = "",
    cache: EmbeddingCache | None = None,
) -> str:
    """Evaluates a checkpoint into `workdir/evaluation/<step>` -> the headline table in Markdown.

    Several processes share the images; process 0 writes, and the others return "".

    Args:
      workdir: of the run.
      config: whose `evaluation` says on what; None for the run's own.
      step: the checkpoint; None for the newest.
      before: work directories whose newest evaluations stand beside this one, in order; they must
        be on the same data.
      name: of an evaluation on other data than the run's own: kept in `evaluation/<step>-<name>`,
        and compared with those of the same name; "protocols" where `config` has nothing else.
      cache: where embeddings are kept; None keeps none.

    Raises:
      UserError: something is missing or wrong; nothing has been written.
    """
    if name:
        config_lib.check_name(name)
    if config is not None and config.evaluation.data.source == "none":
        name = name or "protocols"
    config = config or read_config(workdir)
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = newest_step(workdir, checkpoints, step)
    earlier = {_column(path): latest_evaluation(path, name) for path in before}
    if len(earlier) != len(before) or _column(workdir) in earlier:
        raise UserError("--before: two runs have the same last folder name; rename one")
    data = parallel.first_alone(lambda: open_evaluation(config))
    # A run of many devices can be evaluated on fewer; several processes need one of each.
    several = jax.process_count() > 1
    mesh = parallel.make_mesh(0 if several else min(config.devices, jax.device_count()))
    module, variables, card = load_checkpoint(workdir, step, mesh=mesh)
    seen = _seen(workdir, config, data)
    protocol = protocol_card(card, data, config.evaluation, step, seen)
    directory = evaluation_directory(workdir, step, name)
    check_same_protocol(directory, protocol, "give --name=NAME to keep both")
    for path in earlier.values():
        check_same_protocol(path, protocol, "evaluate that run like this first, with --name=NAME")
    run = evaluate(module, variables, card, data, config.evaluation, mesh, cache)
    told = ""
    if jax.process_index() == 0:
        write_evaluation(directory, run.results, protocol)
        runs = earlier | {_column(workdir): directory}
        table = report(directory, runs, metrics=read_metrics(workdir, up_to=step))
        attention = [*([identities.warning(seen)] if seen else []), *run.attention]
        told = "\n".join([*attention, f"{directory / 'report.html'}\n", table])
    parallel.wait_for_all("evaluation")
    return told


def _seen(workdir: epath.PathLike, config: Config, data: EvaluationData) -> int:
    """How many people of the data set were trained on."""
    if data.source is None:
        return 0
    place = config_lib.evaluation_data(config)
    evaluated = identities.Known.of(place, config.synthetic, data.source.index)
    return identities.seen(identities.trained_on(workdir), evaluated)


def _column(workdir: epath.PathLike) -> str:
    """The name of a run in tables: its folder's."""
    return absolute(workdir).name
