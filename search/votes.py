"""Votes of finished paths: scores of paths, groups of equivalent answers, voting rules, and posteriors of a vote.

Only finished paths with an answer vote. Of whole texts and code, which hardly ever are equal, one is selected instead:
the one with the best score, else the medoid, which is most similar to the others. The caller decides whether two
answers are the same (mathematical equivalence needs a parser, which this layer does not have). Results do not
depend on the order of the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum, auto
from functools import lru_cache
from math import comb, exp, fsum, inf, lgamma, log, prod
from typing import Any, assert_never

from ramify.answers.kinds import AnswerKind
from ramify.answers.similarity import mean_similarities
from ramify.errors import SearchError

from .node import NodeState
from .tree import SearchTree

Same = Callable[[str, str], bool]
"""Test whether two answers are equivalent."""
CERTAINTY = 1e-3
"""Least distance of a score from 0 and 1 in a posterior, since a score of 1.0 is no certainty."""
MEDOID = "medoid"
"""In place of a rule: the text with the highest mean similarity to the others."""


class Aggregation(StrEnum):
    """Reduction of the scores of a path's steps to one; the REBASE paper allocates and votes by the last."""

    LAST = auto()
    """Score of the last step, which a process reward model gives for the whole prefix."""
    MIN = auto()
    """The weakest step's score."""
    PRODUCT = auto()
    """Product of all scores: every doubtful step lowers it, so longer paths score lower."""
    MEAN = auto()
    """Arithmetic mean of all scores."""


class VoteRule(StrEnum):
    """Quantity that decides between groups of equivalent answers."""

    MAJORITY = auto()
    """The number of paths."""
    WEIGHTED = auto()
    """The sum of the paths' scores."""
    BEST = auto()
    """The best score of a single path (best-of-n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A finished path.

    `answer` is None if no answer could be read from it; then it does not vote. `score` is the path's aggregated reward
    in [0, 1], None if it was not scored. Of a solution's candidates `votes` is the number of finished paths with an
    equal answer and `weight` the sum of their scores, where a path without one counts as 1; both are 0 before the vote
    and for a path without an answer. `group` is the answer with which it was counted, as one of the paths wrote it;
    None where it was not counted, and in files of earlier versions. `path` are the child numbers from the root, by
    which candidates are ordered; it is not saved.
    """

    node: int
    answer: str | None
    score: float | None
    generated_tokens: int
    text: str
    votes: int = 0
    weight: float = 0.0
    group: str | None = None
    path: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; `Candidate(**values)` gives an equal one."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.compare}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGroup:
    """Candidates with equivalent answers, in path order.

    `answer` is the first member's. `weight` is the sum of the members' scores, where a member without one counts as 1,
    a plain vote. `best_score` is the highest score, None if no member has one. `similarity` is the mean similarity of a
    text to the others (see `ramify.answers.similarity`), None for answers that vote.
    """

    answer: str
    count: int
    weight: float
    best_score: float | None
    members: tuple[Candidate, ...]
    similarity: float | None = None

    @property
    def best(self) -> Candidate:
        """The member with the highest score, the first in path order among equals."""
        return min(self.members, key=lambda member: (-_or_lowest(member.score), member.path))

    def value(self, rule: VoteRule) -> float:
        """Return the number by which a rule ranks this group."""
        match rule:
            case VoteRule.MAJORITY:
                return float(self.count)
            case VoteRule.WEIGHTED:
                return self.weight
            case VoteRule.BEST:
                return _or_lowest(self.best_score)
            case _:
                assert_never(rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Outcome of a vote: `groups` from the winning one down.

    `winner` is the best scored path of the winning group and `answer` its answer; both are None if nothing voted.
    `kind` is that of the answers; if it does not vote, `rule` counts only in that the winner has the best score.
    """

    answer: str | None
    groups: tuple[AnswerGroup, ...]
    winner: Candidate | None
    rule: VoteRule
    kind: AnswerKind = AnswerKind.BOX

    def counted(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Return candidates with the answer, the count and the weight of their answer's group."""
        groups = {member.node: group for group in self.groups for member in group.members}
        return tuple(
            each
            if (group := groups.get(each.node)) is None
            else replace(each, votes=group.count, weight=group.weight, group=group.answer)
            for each in candidates
        )

    @property
    def agreement(self) -> float:
        """Share of the voting paths that gave the winning answer, 0 if nothing voted.

        Of texts that do not vote it is the mean similarity of the winner to the others, 1 if there are none.
        """
        if self.groups and self.groups[0].similarity is not None:
            return self.groups[0].similarity
        total = sum(group.count for group in self.groups)
        return self.groups[0].count / total if total else 0.0

    @property
    def chosen_by(self) -> str:
        """The rule that chose: that of the vote, or "best" or "medoid" of texts that do not vote."""
        if self.kind.votes:
            return str(self.rule)
        return str(VoteRule.BEST) if self.groups and self.groups[0].best_score is not None else MEDOID


def aggregate(scores: Sequence[float], how: Aggregation = Aggregation.LAST) -> float:
    """Return one score for a path from its steps' scores, first step first.

    Raises:
        SearchError: if there are none.
    """
    if not len(scores):
        raise SearchError("a path without scored steps has no score; score its steps first")
    match Aggregation(how):
        case Aggregation.LAST:
            return scores[-1]
        case Aggregation.MIN:
            return min(scores)
        case Aggregation.PRODUCT:
            return prod(scores)
        case Aggregation.MEAN:
            return fsum(scores) / len(scores)


def candidates(tree: SearchTree, aggregation: Aggregation = Aggregation.LAST) -> list[Candidate]:
    """Return the finished paths of a tree, in path order; the score is None where a step has none."""
    found = list[Candidate]()
    for node in tree.finished_nodes():
        steps = tree.path_nodes(node.id)
        # A step that goes on in a child has its score there.
        scored = [step.score for step in steps if step.state is not NodeState.CONTINUED]
        scores = [score for score in scored if score is not None]
        # The last score alone is enough for `last`; the other rules need every step.
        usable = node.score is not None and (aggregation is Aggregation.LAST or len(scores) == len(scored))
        found.append(
            Candidate(
                node=node.id,
                path=node.path,
                answer=node.answer,
                score=aggregate(scores, aggregation) if usable else None,
                text="".join(step.text for step in steps),
                generated_tokens=sum(step.token_count for step in steps),
            )
        )
    return found


def group_answers(candidates: Iterable[Candidate], same: Same) -> list[AnswerGroup]:
    """Group candidates by equivalent answers, in the order of each group's first path.

    A candidate joins the first group whose first member it equals, so that the result is determined even where
    `same` is not transitive. `same` is asked once for each distinct text and group.
    """
    members: list[list[Candidate]] = []
    by_text: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda each: each.path):
        answer = candidate.answer
        if answer is None:
            continue
        group = by_text.get(answer)
        if group is None:
            group = next((each for each in members if same(each[0].answer or "", answer)), None)
            if group is None:
                members.append(group := [])
            by_text[answer] = group
        group.append(candidate)
    return [_group(each) for each in members]


def decide(candidates: Iterable[Candidate], rule: VoteRule, same: Same, kind: AnswerKind = AnswerKind.BOX) -> Vote:
    """Return the vote. Ties go to the group with the better best score, then to the smaller first path.

    Answers of a `kind` that does not vote are ranked by their scores if all have one, else by their mean similarity to
    the others; ties go to the smaller path.

    Raises:
        SearchError: if the rule needs scores and a voting candidate has none; the message names the node.
    """
    rule = VoteRule(rule)
    voting = [each for each in candidates if each.answer is not None]
    if not kind.votes:
        return _select(voting, rule, kind)
    if rule is not VoteRule.MAJORITY:
        for each in voting:
            if each.score is None:
                raise SearchError(f"node {each.node} has no score to vote by {rule}; use the majority rule or a reward")
    groups = sorted(
        group_answers(voting, same),
        key=lambda group: (-group.value(rule), -_or_lowest(group.best_score), group.members[0].path),
    )
    winner = groups[0].best if groups else None
    return Vote(answer=winner.answer if winner else None, groups=tuple(groups), winner=winner, rule=rule, kind=kind)


def _select(candidates: Sequence[Candidate], rule: VoteRule, kind: AnswerKind) -> Vote:
    """Return the selection of one of several texts; the groups are those of equal texts."""
    ordered = sorted(candidates, key=lambda each: each.path)
    similarities = mean_similarities([each.answer or "" for each in ordered])
    by_text = {each.answer: value for each, value in zip(ordered, similarities, strict=True)}
    scored = all(each.score is not None for each in ordered)
    groups = [replace(group, similarity=by_text[group.answer]) for group in group_answers(ordered, str.__eq__)]
    groups.sort(
        key=lambda group: (
            -_or_lowest(group.best_score if scored else group.similarity),
            -_or_lowest(group.similarity),
            group.members[0].path,
        )
    )
    if not scored:
        groups = [replace(group, best_score=None) for group in groups]
    winner = groups[0].best if groups else None
    return Vote(answer=winner.answer if winner else None, groups=tuple(groups), winner=winner, rule=rule, kind=kind)


def decide_by_text(candidates: Sequence[Candidate], rule: VoteRule, kind: AnswerKind = AnswerKind.BOX) -> Vote:
    """Hold the vote without comparing answers: they are equal only if they are written alike.

    The majority decides if a voting candidate has no score.
    """
    scored = all(each.score is not None for each in candidates if each.answer is not None)
    return decide(candidates, rule if scored else VoteRule.MAJORITY, str.__eq__, kind)


def _group(members: Sequence[Candidate]) -> AnswerGroup:
    return AnswerGroup(
        answer=members[0].answer or "",
        count=len(members),
        weight=fsum(1.0 if member.score is None else member.score for member in members),
        best_score=max((member.score for member in members if member.score is not None), default=None),
        members=tuple(members),
    )


def _or_lowest(score: float | None) -> float:
    return -inf if score is None else score


@lru_cache(maxsize=4096)
def majority_posterior(leader: int, runner_up: int) -> float:
    """Return the probability that the leader is truly the likelier of two answers, given their counts.

    1 - I_0.5(v1 + 1, v2 + 1), the posterior of a Beta(1, 1) prior (Aggarwal et al., "Let's Sample Step by Step",
    arXiv 2305.11860, section 3). For whole counts the incomplete beta function is a binomial sum, which is exact.
    """
    trials = leader + runner_up + 1
    return sum(comb(trials, i) for i in range(leader + 1)) / 2**trials


@lru_cache(maxsize=4096)
def chance_of_change(leader: int, runner_up: int, more: int) -> float:
    """Return the probability that the runner-up leads after `more` votes, if all of them go to one of the two.

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
    """Return the probability of each answer, given the scores of the paths that gave it.

    A path with score c is assumed to give the right answer with probability c and each other one with equal
    probability, among the answers that were given and one that was not: naive Bayes over the paths, in the manner of
    CGES (Aghazadeh et al., arXiv 2511.02603), whose likelihood may differ. The chances add up to less than 1: the rest
    is that of the answer that no path gave.
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
