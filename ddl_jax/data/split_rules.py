"""From scores of images to easy and hard domains."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ddl_jax.errors import UserError

_FORM = "NAME:SCORE<NUMBER, with <, <=, >, >= or domain=NAME, several joined by &"
_COMPARED: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


@dataclasses.dataclass(frozen=True)
class Condition:
    """`score < value`; a value in per cent is a quantile of the score over all images.

    `domain=NAME` is a condition on the domain that an image had: `sign` is "=" and `value` the
    name.
    """

    score: str
    sign: str
    value: float | str
    per_cent: bool = False

    def holds(self, scores: Mapping[str, np.ndarray], domains: np.ndarray) -> np.ndarray:
        """Which images it holds for, `[n]` bool: never for one without the score (NaN)."""
        if self.sign == "=":
            return domains == self.value
        values = scores[self.score]
        known = values[np.isfinite(values)]
        if not len(known):
            raise UserError(f"no image has a score {self.score!r}; use another in --rules")
        bound = np.quantile(known, self.value / 100) if self.per_cent else self.value
        return _COMPARED[self.sign](values, bound)


@dataclasses.dataclass(frozen=True)
class Rule:
    """An image that all conditions hold for is of `domain`."""

    domain: str
    conditions: tuple[Condition, ...]


def read_rules(rules: Sequence[str]) -> list[Rule]:
    """Rules as they are written: `profile:yaw>40`, `blurred:sharpness<10%&domain=easy`.

    Raises:
      UserError: a rule that is none.
    """
    return [_read_rule(rule) for rule in rules]


def _read_rule(text: str) -> Rule:
    domain, _, conditions = text.partition(":")
    if not re.fullmatch(r"\w[\w.-]*", domain) or not conditions:
        raise UserError(f"--rules has {text!r}; write {_FORM}")
    return Rule(domain, tuple(_read_condition(c, text) for c in conditions.split("&")))


def _read_condition(text: str, rule: str) -> Condition:
    by_domain = re.fullmatch(r"\s*domain\s*=\s*(.+?)\s*", text)
    if by_domain:
        return Condition("domain", "=", by_domain[1])
    written = re.fullmatch(r"\s*(\w[\w.-]*?)\s*(<=|>=|<|>)\s*([^\s%]+)\s*(%?)\s*", text)
    try:
        value = float(written[3]) if written else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"--rules has {rule!r}, where {text!r} is no condition; write {_FORM}")
    if written[4] and not 0 <= value <= 100:
        raise UserError(f"--rules has {rule!r}; a quantile is from 0% to 100%")
    return Condition(written[1], written[2], value, bool(written[4]))


def scores_of(rules: Sequence[Rule]) -> list[str]:
    """Names of the scores that the rules ask for, each once."""
    names = (c.score for rule in rules for c in rule.conditions if c.sign != "=")
    return list(dict.fromkeys(names))


def split_domains(
    rules: Sequence[Rule], scores: Mapping[str, np.ndarray], domains: np.ndarray
) -> np.ndarray:
    """The domain of every image: that of the first rule that fits, else the one it has.

    Args:
      rules: of `read_rules`.
      scores: `{name: [n] float}`, NaN where an image has none.
      domains: `[n]` names.

    Raises:
      UserError: a rule that fits no image, or none that an earlier rule has left.
    """
    found = domains.astype(object)
    free = np.ones(len(domains), bool)
    for rule in rules:
        fits = free & np.all([c.holds(scores, domains) for c in rule.conditions], axis=0)
        if not fits.any():
            raise UserError(
                f"no image is of domain {rule.domain!r} by its rule"
                + ("" if free.all() else ", those of earlier rules apart")
                + _ranges(rule, scores)
            )
        found[fits] = rule.domain
        free &= ~fits
    return found.astype(str)


def _ranges(rule: Rule, scores: Mapping[str, np.ndarray]) -> str:
    names = dict.fromkeys(c.score for c in rule.conditions if c.sign != "=")
    ranges = (f"{n} goes from {np.nanmin(scores[n]):g} to {np.nanmax(scores[n]):g}" for n in names)
    return "".join(f"; {text}" for text in ranges)
