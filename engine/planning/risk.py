"""Answers with a stated risk: a threshold on the posterior of a vote, certified on problems with known answers.

A threshold is certified at a risk if the exact binomial test on the calibration problems rejects the hypothesis that
more than this share of the answers above it are wrong. Thresholds are tested in fixed sequences from strict to lenient
and the most lenient one that is rejected is taken, so that the chance of certifying any wrong threshold is at most
1 - CONFIDENCE (Learn then Test: Angelopoulos et al., arXiv 2110.01052, section 2 and 3; the bound for selective
classification is that of Geifman and El-Yaniv, arXiv 1705.08500, section 3). It assumes that later problems are drawn
as the calibration problems were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, fsum, lgamma, log, log1p
from typing import Any

from ramify.errors import UsageError
from ramify.search.registry import strategy_to_dict
from ramify.search.stopping import StopReason
from ramify.search.strategy import Strategy
from ramify.search.votes import majority_posterior
from ramify.solution import Solution

from .profile import Profile

CONFIDENCE = 0.9
"""Chance, over the choice of the calibration problems, that a certified threshold keeps its risk."""
STARTS = (16, 12, 8, 5)
"""First thresholds of the sequences, in bits of doubt: at b the posterior is at least 1 - 2^-b.

Below a strict threshold there may be too few problems to certify anything, and a sequence ends at its first failure, so
there are several. They are fixed, and do not depend on the calibration problems.
"""
STEPS_PER_BIT = 2
"""Thresholds in each halving of the doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRule:
    """Rule that gives an answer only if its posterior is at least `threshold`; None if no threshold was certified.

    `level` is the share of wrong answers that it certifies, and `problems` the number of calibration problems.
    """

    level: float
    threshold: float | None
    problems: int
    calibration: str

    def judge(self, solution: Solution) -> Solution:
        """Return the solution with the rule's verdict, and without its answer if that is not sure.

        A run that did not come to its own end is not sure: those of the calibration did.
        """
        found = posterior(solution)
        completed = solution.stop_reason is StopReason.COMPLETED
        sure = solution.answer is not None and completed and self.threshold is not None and found >= self.threshold
        facts: dict[str, Any] = {
            "status": "sure" if sure else "not sure",
            "level": self.level,
            "confidence": CONFIDENCE,
            "threshold": self.threshold,
            "posterior": found,
            "calibration": self.calibration,
            "calibration_problems": self.problems,
        }
        if sure or solution.answer is None:
            return replace(solution, risk=facts)
        withheld = {**facts, "withheld": solution.answer}
        return replace(solution, answer=None, text="", score=None, value=None, risk=withheld)


def posterior(solution: Solution) -> float:
    """Return the posterior of a voted answer against the most frequent other one, 0.0 without an answer."""
    sizes = solution.vote_counts()
    own = next((each.votes for each in solution.candidates if each.answer == solution.answer), 0)
    if solution.answer is None or not own:
        return 0.0
    sizes.remove(own)
    return majority_posterior(own, max(sizes, default=0))


def risk_rule(profile: Profile, strategy: Strategy, level: float) -> RiskRule:
    """Return the rule of a strategy at a level of risk, by the profile's point of the same strategy.

    Raises:
        UsageError: if the profile has no such point, or was measured without posteriors.
    """
    wanted = strategy_to_dict(strategy)
    point = next((each for each in profile.points if each.make() == strategy), None)
    if point is None or not point.posteriors:
        width = f" of {strategy.width}" if "width" in wanted else ""
        raise UsageError(
            f"no risk was calibrated for {strategy.name}{width} of {profile.policy}",
            "measure it with `ramify calibrate` and name the file with --profile",
        )
    right = [outcome == "1" for outcome in point.outcomes]
    threshold = certified_threshold(point.posteriors, right, level)
    return RiskRule(level=level, threshold=threshold, problems=len(right), calibration=profile.problems)


def certified_threshold(
    posteriors: Sequence[float], right: Sequence[bool], level: float, confidence: float = CONFIDENCE
) -> float | None:
    """Return the lowest certified threshold, None if there is none; see the module's docstring.

    `posteriors` and `right` have an entry for each calibration problem.

    Raises:
        UsageError: if the level or the confidence is not between 0 and 1.
    """
    if not (0 < level < 1 and 0 < confidence < 1):
        raise UsageError(f"the risk is {level} at a confidence of {confidence}", "use numbers between 0 and 1")
    allowed = (1 - confidence) / len(STARTS)
    pairs = list(zip(posteriors, right, strict=True))
    best: float | None = None
    for start in STARTS:
        for step in range(start * STEPS_PER_BIT, 0, -1):
            threshold = 1 - 2.0 ** (-step / STEPS_PER_BIT)
            given = [answered for value, answered in pairs if value >= threshold]
            if binomial_tail(given.count(False), len(given), level) > allowed:
                break
            best = threshold if best is None else min(best, threshold)
    return best


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """Return the probability of at most so many successes in trials of a chance between 0 and 1."""
    if successes >= trials:
        return 1.0
    logs = (
        lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1) + k * log(chance) + (trials - k) * log1p(-chance)
        for k in range(successes + 1)
    )
    return min(1.0, fsum(exp(each) for each in logs))
