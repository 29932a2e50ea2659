"""Examples in the forms that TRL reads: solutions, preferences within a problem, and labelled steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ramify.search.node import TOLD, Node, NodeState
from ramify.search.tree import ROOT, SearchTree
from ramify.search.votes import Candidate
from ramify.solution import Solution

from .filters import Judge, PathFilter, judge_all
from .sources import SolvedProblem

Kind = Literal["sft", "preference", "steps"]
Form = Literal["messages", "text"]
Example = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleMaker:
    """Maker of the examples of one kind.

    `form` "messages" writes conversations, "text" plain texts; labelled steps are plain in any case, since TRL reads
    them so. `most` bounds the examples of one problem, the best scored paths first, None for all.
    """

    kind: Kind
    filters: tuple[PathFilter, ...]
    form: Form = "messages"
    most: int | None = 4

    def make(self, problem: SolvedProblem) -> Iterator[Example]:
        """Yield the examples of a problem."""
        judge = judge_all(self.filters, problem)
        makers: dict[Kind, Callable[[Solution, Judge], Iterator[Example]]] = {
            "sft": self._solutions,
            "preference": self._preferences,
            "steps": self._steps,
        }
        for number, example in enumerate(makers[self.kind](problem.solution, judge)):
            if number == self.most:
                return
            yield example

    def _solutions(self, solution: Solution, judge: Judge) -> Iterator[Example]:
        for path in _distinct(solution.candidates):
            if judge(path):
                prompt, text = self._prompt(solution), path.text.strip()
                if self.form == "messages":
                    yield {"messages": [*prompt, *self._reply(text)]}
                else:
                    yield {"prompt": prompt, "completion": text}

    def _preferences(self, solution: Solution, judge: Judge) -> Iterator[Example]:
        """Yield pairs: the best good path with the best scored bad one, then the next of both, and so on."""
        paths = _distinct(solution.candidates)
        good = [path for path in paths if judge(path) is True]
        # Bad paths that the reward model liked teach the most.
        bad = [path for path in paths if judge(path) is False]
        count = max(len(good), len(bad)) if good and bad else 0
        for place in range(count):
            chosen, rejected = good[place % len(good)], bad[place % len(bad)]
            yield {
                "prompt": self._prompt(solution),
                "chosen": self._reply(chosen.text.strip()),
                "rejected": self._reply(rejected.text.strip()),
            }

    def _steps(self, solution: Solution, judge: Judge) -> Iterator[Example]:
        """Yield each finished path with a label for each step: whether a good path has the same steps up to it.

        It is the hard estimate of Math-Shepherd (Wang et al., arXiv 2312.08935, section 3.3), with the paths of the
        search as the continuations.
        """
        tree = solution.tree
        if tree is None:
            return
        verdicts = {path.node: judge(path) for path in solution.candidates}
        good = set[tuple[str, ...]]()
        for leaf, verdict in verdicts.items():
            if verdict:
                right = _steps_of(tree, leaf)
                good.update(right[:end] for end in range(1, len(right) + 1))
        told = set[tuple[str, ...]]()
        for path in sorted(solution.candidates, key=lambda each: -(each.score or 0.0)):
            if verdicts[path.node] is None:
                continue
            texts = _steps_of(tree, path.node)
            if texts in told or not texts:
                continue
            told.add(texts)
            question = self._plain_prompt(solution)
            labels = [texts[:end] in good for end in range(1, len(texts) + 1)]
            yield {"prompt": question, "completions": list(texts), "labels": labels}

    def _prompt(self, solution: Solution) -> Any:
        return self._plain_prompt(solution) if self.form == "text" else _messages(solution)

    def _plain_prompt(self, solution: Solution) -> str:
        if solution.conversation is None:
            return solution.question
        return "\n\n".join(each["content"] for each in _messages(solution))

    def _reply(self, text: str) -> Any:
        return text if self.form == "text" else [{"role": "assistant", "content": text}]


def _messages(solution: Solution) -> list[dict[str, str]]:
    told = solution.conversation
    if told is None:
        return [{"role": "user", "content": solution.question}]
    return [{"role": each.role, "content": each.content} for each in told.messages(None)]


def _distinct(paths: Sequence[Candidate]) -> list[Candidate]:
    """Return the paths with distinct texts, the best scored first, in the order of the search among equals."""
    found = dict[str, Candidate]()
    for path in sorted(paths, key=lambda path: -(path.score or 0.0)):
        if text := path.text.strip():
            found.setdefault(text, path)
    return list(found.values())


def _steps_of(tree: SearchTree, leaf: int) -> tuple[str, ...]:
    """Return the texts of the steps of a path; text put into a path belongs to its step."""
    steps, text = list[str](), ""
    for node in tree.path_nodes(leaf):
        if node.id == ROOT:
            continue
        text += node.text
        if not _goes_on(node):
            steps.append(text.rstrip("\n"))
            text = ""
    return tuple(step for step in steps if step.strip())


def _goes_on(node: Node) -> bool:
    return node.state is NodeState.CONTINUED or node.origin in TOLD
