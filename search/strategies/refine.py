"""Refinement of whole answers in conversation: draft, critique, revision.

From Madaan et al., "Self-Refine" (arXiv 2303.17651, algorithm 1): the policy criticises its own answer and then writes
a new one, with the whole conversation before in its context. How much of the width goes into parallel drafts and how
much into revisions one after another is the ratio of Snell et al. (arXiv 2408.03314, section 6), where all answers of
all chains are candidates; so they are here.

It pays for models that were trained to converse. A revision starts the solution anew, so a reward model reads it as any
other path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..node import Origin, PruneReason
from ..strategy import Ask, Expansion, Strategy, check_flag, check_whole
from ..tree import ROOT, Node, NodeState, SearchTree
from ..votes import Aggregation, VoteRule

CRITIQUE_PROMPT = (
    "Check the solution above step by step. If something is wrong, say which step it is and why. "
    "Do not write a new solution yet."
)
REVISION_PROMPT = "Now write the whole solution again without these mistakes, in the same form as before."
DIRECT_PROMPT = "Check the solution above, and write the whole solution again without mistakes, in the same form."


@dataclass(frozen=True, slots=True, kw_only=True)
class Refine(Strategy):
    """Write drafts, and after each as many revisions one after another.

    `width` is the number of answers, drafts and revisions together: width / (1 + `revisions`) chains, rounded down,
    at least one, the odd ones being drafts without revisions. With `critique` each revision follows a critique of the
    text before, which is generated too but is no answer; without, the policy is told to revise at once. The prompts are
    its instructions; an empty one means ramify's own. `vote` decides the answer; only "majority" needs no reward.
    `max_depth` is 1, for every answer is one node.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "refine"
    width: int = 16
    revisions: int = 1
    critique: bool = True
    critique_prompt: str = ""
    revision_prompt: str = ""
    vote: VoteRule = VoteRule.MAJORITY
    aggregation: Aggregation = field(default=Aggregation.LAST, init=False, repr=False)
    max_depth: int = field(default=1, init=False, repr=False)

    def __post_init__(self) -> None:
        Strategy.__post_init__(self)
        check_whole("revisions", self.revisions, least=0)
        check_flag("critique", self.critique)

    @property
    def converses(self) -> bool:
        """True: critiques and revisions follow finished texts."""
        return True

    def instruction(self, origin: Origin) -> str:
        """Return the prompt for a critique or a revision."""
        if origin is Origin.CRITIQUE:
            return self.critique_prompt or CRITIQUE_PROMPT
        return self.revision_prompt or (REVISION_PROMPT if self.critique else DIRECT_PROMPT)

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the missing drafts, and the texts that come after others, once all that was asked for is complete.

        In rounds, because a text's number, and with it its draws, must not depend on which chain was faster.
        """
        if tree.pending_count or (self.uses_reward and tree.unscored_count):
            return Ask()
        texts = tree.next_steps(ROOT)
        drafts = [node for node in texts if node.about is None]
        chains = self._chains()
        expansions = list[Expansion]()
        if (missing := self._drafts() - len(drafts)) > 0:
            expansions.append(Expansion(ROOT, missing, to_the_end=True))
        followers = {node.about: node for node in texts if node.about is not None}
        for draft in drafts[:chains]:
            expansions += self._next(draft, followers)
        prune = tuple((node.id, PruneReason.DEPTH) for node in texts if node.state is NodeState.OPEN)
        return Ask(tuple(expansions), prune, done=not expansions)

    def _chains(self) -> int:
        return max(1, self.width // (1 + self.revisions))

    def _drafts(self) -> int:
        """Return the number of drafts: one for each chain, and the rest of the width that makes no whole chain."""
        return self._chains() + max(0, self.width - self._chains() * (1 + self.revisions))

    def _next(self, draft: Node, followers: Mapping[int, Node]) -> tuple[Expansion, ...]:
        """Return the critique or revision that a draft's chain waits for, if any."""
        last, revised = draft, 0
        while last.id in followers:
            last = followers[last.id]
            revised += last.origin is Origin.REVISION
        if last.state is not NodeState.FINISHED or revised >= min(self.revisions, self.width - 1):
            return ()
        criticise = self.critique and last.origin is not Origin.CRITIQUE
        origin = Origin.CRITIQUE if criticise else Origin.REVISION
        return (Expansion(ROOT, 1, to_the_end=True, about=last.id, origin=origin),)
