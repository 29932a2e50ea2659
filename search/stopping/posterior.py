"""How sure a vote is: posteriors of the leading answer, from counts and from scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb, exp, fsum, lgamma, log

from ..votes import Vote

CERTAINTY = 1e-3
"""Scores count as no surer than this in a posterior: a reward model that says 1.0 does not know."""


@lru_cache(maxsize=4096)
def majority_posterior(leader: int, runner_up: int) -> float:
    """Return the chance that the leader is truly the likelier of two answers, given their counts.

    1 - I_0.5(v1 + 1, v2 + 1), the posterior of a Beta(1, 1) prior (Aggarwal et al., "Let's Sample Step by Step",
    arXiv 2305.11860, section 3). For whole counts the incomplete beta function is a binomial sum, which is exact.
    """
    trials = leader + runner_up + 1
    return sum(comb(trials, i) for i in range(leader + 1)) / 2**trials


@lru_cache(maxsize=4096)
def chance_of_change(leader: int, runner_up: int, more: int) -> float:
    """Return the chance that the runner-up leads after `more` votes, if all of them go to one of the two.

    The share of the leader has the Beta posterior of `majority_posterior`, so the votes that the leader gets are
    Beta-binomial (the predictive distribution; Gelman et al., "Bayesian Data Analysis", 3rd edition, section 2.4).
    """
    a, b = leader + 1, runner_up + 1
    chance = 0.0
    for gets in range(more + 1):
        if runner_up + more - gets > leader + gets:
            chance += exp(_log_comb(more, gets) + _log_beta(a + gets, b + more - gets) - _log_beta(a, b))
    return chance


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _log_beta(a: int, b: int) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def vote_posterior(vote: Vote) -> float:
    """Return `majority_posterior` of a vote's two most frequent answers; 0 if nothing voted."""
    counts = sorted((group.count for group in vote.groups), reverse=True)
    if not counts:
        return 0.0
    return majority_posterior(counts[0], counts[1] if len(counts) > 1 else 0)


def weighted_posteriors(scores: Sequence[Sequence[float]]) -> list[float]:
    """Return the chance of each answer, given the scores of the paths that gave it.

    A path with score c is taken to say the right answer with chance c and each other one alike, among the answers
    that were given and one that was not: naive Bayes over the paths, in the manner of CGES (Aghazadeh et al.,
    arXiv 2511.02603), whose own likelihood this need not be. The chances add up to less than 1: the rest is the
    answer that nobody gave.
    """
    others = len(scores)
    logs = [0.0] * (len(scores) + 1)
    for given, path_scores in enumerate(scores):
        for score in path_scores:
            chance = min(1 - CERTAINTY, max(CERTAINTY, score))
            wrong = log((1 - chance) / others)
            logs = [total + (log(chance) if answer == given else wrong) for answer, total in enumerate(logs)]
    top = max(logs)
    weights = [exp(value - top) for value in logs]
    total = fsum(weights)
    return [weight / total for weight in weights[:-1]]
