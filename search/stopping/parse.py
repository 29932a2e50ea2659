"""Stop rules from text, such as `beta:0.9,lead`."""

from __future__ import annotations

from collections.abc import Callable

from ramify.errors import SearchError
from ramify.text import nearest

from .rule import AnyOf, StopRule
from .rules import AgreementWindow, BetaMajority, CannotBeOvertaken, NoImprovement, ScoreThreshold, WeightedPosterior

_RULES: dict[str, Callable[[str], StopRule]] = {
    "beta": lambda text: BetaMajority(confidence=float(text)) if text else BetaMajority(),
    "lead": lambda text: CannotBeOvertaken() if not text else _no_number(text),
    "patience": lambda text: NoImprovement(paths=int(text)) if text else NoImprovement(),
    "posterior": lambda text: WeightedPosterior(confidence=float(text)) if text else WeightedPosterior(),
    "score": lambda text: ScoreThreshold(score=float(text)) if text else ScoreThreshold(),
    "window": lambda text: AgreementWindow(window=int(text)) if text else AgreementWindow(),
}


def stop_rule_names() -> list[str]:
    """Return the known names, sorted."""
    return sorted(_RULES)


def make_stop_rule(text: str) -> StopRule:
    """Return the rule that `text` describes: NAME or NAME:NUMBER, several separated by commas (any of them stops).

    Raises SearchError for an unknown name (naming the nearest) or a number that does not fit.
    """
    rules = [_one(part.strip()) for part in text.split(",")]
    return rules[0] if len(rules) == 1 else AnyOf(tuple(rules))


def _one(text: str) -> StopRule:
    name, _, number = text.partition(":")
    if name not in _RULES:
        raise SearchError(f"there is no stop rule {name!r}{nearest(name, _RULES)}")
    try:
        return _RULES[name](number)
    except SearchError:
        raise
    except ValueError:
        raise SearchError(f"the stop rule {name} cannot take {number!r}; give it a number") from None


def _no_number(text: str) -> StopRule:
    raise ValueError(text)
