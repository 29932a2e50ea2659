"""Solved problems in a store, and the search for those that are most like a question (TF-IDF, cosine)."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

from ramify.conversation import Example
from ramify.errors import MalformedText
from ramify.json_text import read_json
from ramify.problem import Problem
from ramify.solution import Solution

from .rows import RowKind, RowStore, digest

LEAST_PATHS = 4
"""Finished paths with an answer that a vote needs in order to be clear."""
LEAST_SHARE = 0.75
"""Share of these paths that has to agree."""
LEAST_SIMILARITY = 0.1
"""Cosine below which a problem is nothing like the question."""
LONGEST_TEXT = 4000
"""Characters of a worked solution; longer ones take too much of a prompt."""

_WORD = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True, slots=True)
class SolvedProblem:
    """A question, the text of the path that won the vote on it, and the answer.

    `source` stands for the model and the prompt with which it was solved.
    """

    source: str
    question: str
    text: str
    answer: str


def is_clear(solution: Solution) -> bool:
    """Tell whether the vote that a solution won was clear."""
    total = sum(solution.vote_counts())
    agreeing = (each.votes for each in solution.candidates if each.answer is not None and each.text == solution.text)
    return total >= LEAST_PATHS and max(agreeing, default=0) >= LEAST_SHARE * total


def keep_solved(rows: RowStore, problem: SolvedProblem) -> None:
    """Add a solved problem, in the place of an earlier solution of the same question."""
    if problem.text.strip() and len(problem.text) <= LONGEST_TEXT:
        key = digest(problem.source.encode(), problem.question.encode("utf-8", "surrogatepass"))
        rows.put(RowKind.SOLVED, key, json.dumps(asdict(problem)).encode())


def solved_problems(rows: RowStore, source: str) -> list[SolvedProblem]:
    """Return the problems that were solved by a source, oldest first."""
    found = list[SolvedProblem]()
    for _, value in rows.values(RowKind.SOLVED):
        try:
            problem = SolvedProblem(**read_json(value))
        except (MalformedText, TypeError):
            continue
        if problem.source == source:
            found.append(problem)
    return found


class ProblemMemory:
    """Solved problems that are looked up by how like their questions are to another one.

    Words count by their rarity, and every number as the same word, since problems that differ in their numbers alone
    are alike. `rows` and `source` are where problems that are solved from now on are kept, for others to look up.
    """

    def __init__(self, problems: Iterable[SolvedProblem], rows: RowStore, source: str) -> None:
        self._problems = list(problems)
        self._rows, self._source = rows, source
        counts = [Counter(_words(each.question)) for each in self._problems]
        holders = Counter(word for each in counts for word in each)
        self._rarity = {word: math.log((1 + len(counts)) / (1 + held)) + 1 for word, held in holders.items()}
        # For each word the problems that have it, with its share of their unit vectors.
        self._index = defaultdict[str, list[tuple[int, float]]](list)
        for place, each in enumerate(counts):
            for word, weight in self._unit(each).items():
                self._index[word].append((place, weight))

    @classmethod
    def of(cls, rows: RowStore, source: str) -> ProblemMemory:
        """Return the problems of a source that a store has now."""
        return cls(solved_problems(rows, source), rows, source)

    def __len__(self) -> int:
        return len(self._problems)

    def shown(self, problem: Problem, count: int) -> Problem:
        """Return a problem with up to `count` similar ones as worked examples, before its own."""
        found = [Example(each.question, each.text) for each in self.similar(problem.question, count)]
        return replace(problem, examples=(*found, *problem.examples))

    def keeper(self, problem: Problem) -> Callable[[Solution], None] | None:
        """Return a function that keeps a solution; None if the problem is no example without the turns before."""
        if len(problem.messages) > 1 or problem.system is not None:
            return None

        def keep(solution: Solution) -> None:
            if solution.answer is not None and is_clear(solution):
                solved = SolvedProblem(self._source, problem.question, solution.text, solution.answer)
                keep_solved(self._rows, solved)

        return keep

    def similar(self, question: str, count: int) -> list[SolvedProblem]:
        """Return up to `count` problems that are most like a question, the most similar one last.

        The question itself is not among them. Of equally similar ones the older comes first.
        """
        scores = defaultdict[int, float](float)
        for word, weight in self._unit(Counter(_words(question))).items():
            for place, share in self._index.get(word, ()):
                scores[place] += weight * share
        same = _words(question, numbers=True)
        ranked = sorted(scores, key=lambda place: (-scores[place], place))
        found = list[SolvedProblem]()
        for place in ranked:
            if len(found) == count or scores[place] < LEAST_SIMILARITY:
                break
            if _words(self._problems[place].question, numbers=True) != same:
                found.append(self._problems[place])
        return found[::-1]

    def _unit(self, counts: Counter[str]) -> dict[str, float]:
        rarest = math.log(1 + len(self._problems)) + 1
        weights = {word: count * self._rarity.get(word, rarest) for word, count in counts.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()} if length else {}


def _words(text: str, *, numbers: bool = False) -> list[str]:
    """Return the words of a text in lower case, numbers as they are or all as the same word."""
    found = _WORD.findall(text.lower())
    return found if numbers else ["0" if each.isdecimal() else each for each in found]
