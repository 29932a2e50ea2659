"""Verdict on a head by held-out problems: pairs within a problem, and the gain of votes by it over the majority."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ramify.answers.kinds import AnswerKind
from ramify.answers.reading import AnswerReader
from ramify.reward.arithmetic import false_equations
from ramify.reward.arithmetic_reward import FALSE_SCORE
from ramify.reward.likelihood_head import LikelihoodHead
from ramify.statistics import auc, paired_difference

from .gains import share_interval
from .judge_features import SolutionFeatures
from .labelling import LabelledSolution
from .quality import preference, score_calibration

HALF = 0.5
RIGHT = "\0right"
"""Stands for all right answers; no text of a model is equal to it."""
CALCULATOR_NOTE = (
    "solutions with the calculator: their equations hold but for rounding, which the check `arithmetic` allows, so "
    "`head * arithmetic` says little more than the head"
)
"""Note of a report where solutions were sampled with the calculator."""


def held_out_report(head: LikelihoodHead, kept: Sequence[SolutionFeatures]) -> dict[str, Any]:
    """Return a head's figures on held-out solutions: steps, pairs, votes and the verdict, in plain JSON types.

    Votes are those of the sampled solutions of each problem; an answer is right if a path with it is.
    """
    scored = [(each, head.chances(each.rows)) for each in kept]
    steps = [
        (score, target)
        for each, scores in scored
        for score, target in zip(scores, each.targets, strict=True)
        for _ in range(each.label.count)
    ]
    fit = score_calibration([score for score, _ in steps], [target for _, target in steps])
    plain = [scores[-1] for _, scores in scored]
    checked = [scores[-1] * arithmetic_factor(each.label) for each, scores in scored]
    report: dict[str, Any] = {
        "problems": len({each.label.question for each in kept}),
        "paths": sum(each.label.count for each in kept),
        "step_auc": auc([s for s, t in steps if t >= HALF], [s for s, t in steps if t < HALF]),
        "calibration_error": None if fit is None else fit.error,
        "head": choices([each.label for each in kept], plain),
        "head * arithmetic": choices([each.label for each in kept], checked),
    }
    if any(each.label.calculator for each in kept):
        report["note"] = CALCULATOR_NOTE
    report["helps"], report["verdict"] = verdict_on(report["head"])
    return report


def arithmetic_factor(label: LabelledSolution) -> float:
    """Return the score of the reward `arithmetic` for a whole solution."""
    return FALSE_SCORE if false_equations("".join(label.steps)) else 1.0


def choices(labels: Sequence[LabelledSolution], scores: Sequence[float]) -> dict[str, Any]:
    """Return the pairs within a problem that a score of whole solutions decides rightly, and its gain in votes.

    `scores` are those of `labels` in order. The values are plain JSON; differences and pairs have their 95 % bootstrap
    intervals over problems.
    """
    problems: dict[str, list[tuple[LabelledSolution, float]]] = {}
    for label, score in zip(labels, scores, strict=True):
        problems.setdefault(label.question, []).append((label, score))
    sides = {
        question: tuple(
            [score for label, score in own for _ in range(label.count) if (label.first_error is None) is right]
            for right in (True, False)
        )
        for question, own in problems.items()
    }
    pairs = list(preference(sides).values())  # pyright: ignore[reportArgumentType]
    total = sum(count for _, count in pairs)
    outcomes = [_votes(own) for own in problems.values()]
    facts: dict[str, Any] = {
        "pairs": total,
        "pairs_right": sum(wins for wins, _ in pairs) / total if total else None,
        "pairs_interval": share_interval(pairs),
        "majority": sum(each["majority"] for each in outcomes) / len(outcomes),
    }
    known = any(each["read"] for each in outcomes)
    for method in ("best-of-n", "weighted"):
        gain = paired_difference([each[method] for each in outcomes], [each["majority"] for each in outcomes])
        facts[f"{method} minus majority"] = [gain.value, gain.low, gain.high] if known else None
    return facts


def _votes(own: Sequence[tuple[LabelledSolution, float]]) -> dict[str, bool]:
    """Return for each vote over one problem's solutions whether its answer is right, and whether any could be read."""
    texts = ["".join(label.steps) for label, _ in own]
    reader = _reader(texts)
    read = [(answer, *each) for answer, each in zip(map(reader.read, texts), own, strict=True)]
    right = {answer for answer, label, _ in read if answer is not None and label.first_error is None}
    # Right answers are one, however they are written.
    answers = [(RIGHT if answer in right else answer, label, score) for answer, label, score in read]
    counts, weights = Counter[str](), Counter[str]()
    best: tuple[float, str | None] = (-1.0, None)
    for answer, label, score in answers:
        if answer is not None:
            counts[answer] += label.count
            weights[answer] += label.count * score  # pyright: ignore[reportArgumentType]
            best = max(best, (score, answer), key=lambda each: each[0])
    leaders = {"majority": counts, "weighted": weights}
    chosen = {name: max(votes, key=lambda a: votes[a], default=None) for name, votes in leaders.items()}
    return {name: answer == RIGHT for name, answer in (*chosen.items(), ("best-of-n", best[1]))} | {
        "read": bool(counts)
    }


def _reader(texts: Sequence[str]) -> AnswerReader:
    """Return the reader of one problem's solutions: of their last numbers where no answer is marked."""
    marked = AnswerReader()
    if any(marked.read(text) is not None for text in texts):
        return marked
    return AnswerReader(kind=AnswerKind.NUMBER).settled(texts) or marked


def verdict_on(facts: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether a score helps by the figures of `choices`, and a sentence with them."""
    interval = facts["pairs_interval"]
    if interval is None:
        return False, "does not help: no held-out problem has both right and wrong solutions"
    low, high = interval
    gain = facts["weighted minus majority"]
    votes = "no answer can be read, so votes are not compared"
    if gain is not None:
        points = f"{gain[0] * 100:+.1f} points [{gain[1] * 100:+.1f}, {gain[2] * 100:+.1f}]"
        votes = f"the weighted vote is {points} from the majority"
    figures = (
        f"the right path scores higher in {facts['pairs_right']:.1%} of {facts['pairs']} pairs "
        f"[{low:.1%}, {high:.1%}], and {votes}"
    )
    return (low > HALF), ("helps: " if low > HALF else "does not help: ") + figures
