"""What `match` and `search` share: the flags that say where thresholds are from."""

from typing import Any

from absl import flags

from ddl_jax.commands import _network
from ddl_jax.errors import UserError


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_float(
        "threshold", None, "A cosine from which it is the same person.", flag_values=values
    )
    flags.DEFINE_string(
        "protocol", "", "Whose thresholds: of results.json; the first.", flag_values=values
    )
    flags.DEFINE_string(
        "name", "", "Of the evaluation with the thresholds, as of eval.py.", flag_values=values
    )


def check(values: flags.FlagValues) -> None:
    """Refuses thresholds from two places."""
    for name in ("protocol", "name"):
        if values.threshold is not None and values[name].present:
            raise UserError(f"--{name} and --threshold both say what is the same; give one")


def calibration(values: flags.FlagValues, network: _network.Network) -> Any:
    """The `evaluation.calibration.Calibration` of the flags; None where nobody measured one."""
    from ddl_jax.evaluation import calibration

    if values.threshold is not None:
        return calibration.given(values.threshold)
    recognizer = network.recognizer
    if recognizer.step is None:  # of a file of PyTorch's
        for name in ("protocol", "name"):
            if values[name].present:
                raise UserError(f"--{name} is of a work directory; {values.checkpoint} has none")
        return None
    return calibration.measured(
        values.checkpoint,
        recognizer.step,
        flip=recognizer.flip,
        name=values.name,
        protocol=values.protocol,
    )


def how_to_get_one(values: flags.FlagValues, network: _network.Network) -> str:
    """What to tell of a cosine that nobody can say the meaning of."""
    step = network.recognizer.step
    if step is None:
        return (
            f"Nobody measured what that means for {values.checkpoint}: take it into a work "
            "directory and evaluate it (docs/evaluation.md), or give --threshold."
        )
    return (
        f"Nobody measured what that means: step {step} of {values.checkpoint} has no evaluation "
        f"with a threshold for two images; eval.py --workdir={values.checkpoint} --step={step} "
        "makes one, or give --threshold."
    )
