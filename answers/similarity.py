"""Similarity of texts: the share of words and pairs of neighbouring words that two texts have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

LONGEST_WORDS = 2000
"""Words of a text that are compared, from its begin."""
MOST_OTHERS = 64
"""Texts that each one is compared with, evenly spaced among the others."""

_OWN_WORD = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Characters of scripts without spaces, each of which counts as a word."""
_WORD = re.compile(rf"[{_OWN_WORD}]|[^\W{_OWN_WORD}]+|[^\w\s]")


def similarity(first: str, second: str) -> float:
    """Return the similarity of two texts, from 0 (nothing in common) to 1, in any order.

    It is the Jaccard index of their sets of words and of pairs of neighbouring words, in lower case; signs count as
    words, because they matter in code. The time is linear in the length of the texts.
    """
    return _similarity(*sorted((first, second)))


@lru_cache(maxsize=1 << 15)
def _similarity(first: str, second: str) -> float:
    if first == second:
        return 1.0
    left, right = _features(first), _features(second)
    common = len(left & right)
    return common / (len(left) + len(right) - common) if left or right else 1.0


@lru_cache(maxsize=1024)
def _features(text: str) -> frozenset[object]:
    words = list[str]()
    for word in _WORD.finditer(text):
        words.append(word.group().casefold())
        if len(words) == LONGEST_WORDS:
            break
    return frozenset((*words, *pairwise(words)))


def mean_similarities(texts: Sequence[str]) -> list[float]:
    """Return the mean similarity of each text to the others, 1 for a text without others.

    Of more than MOST_OTHERS others that many are compared, evenly spaced, so that the time stays linear in the number
    of texts.
    """
    return [_mean(place, texts) for place in range(len(texts))]


def _mean(place: int, texts: Sequence[str]) -> float:
    others = [*texts[:place], *texts[place + 1 :]]
    if not others:
        return 1.0
    if len(others) > MOST_OTHERS:
        others = [others[number * len(others) // MOST_OTHERS] for number in range(MOST_OTHERS)]
    return round(sum(similarity(texts[place], other) for other in others) / len(others), 9)
