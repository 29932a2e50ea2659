"""Generative verifiers: rewards that write chains of verification and average their verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import anyio

from ramify.errors import RewardContextExceeded, RewardError
from ramify.event_loop import start_task
from ramify.reward.protocol import ReadRequest, ReadResult, ScoredStep, ScoreUsage
from ramify.reward.scores import checked_scores, sigmoid
from ramify.reward.specs import NUMBER, QUESTION, SOLUTION, VerifierSpec
from ramify.reward.tokens import Segment, SegmentEncoder, token_of
from ramify.sampling_params import StepFormat, TokenSampling, node_seed

from ..policy.prompts.presets import PromptPreset
from ..policy.prompts.prompt import prompt_segments, special_tokens
from ..policy.prompts.prompt_format import LEAST_SHARED_TOKENS
from ..runtime.messages import ROOT, StepRequest, StepResult, common_prefix
from ..runtime.serve.loaded_model import LoadedModel
from ..runtime.serve.token_tree import TokenTree

PARALLEL_PATHS = 8
"""Paths verified together; each has its own prompt in the cache."""

DECISION_TOKENS = 32
"""Tokens that are kept free for the verdict."""

_PLAIN = PromptPreset(name="verifier", system=None, base_template=QUESTION, step_format="line")

_PLACEHOLDERS = re.compile(f"({re.escape(QUESTION)}|{re.escape(SOLUTION)})")
_OTHER_STEPS = ("0", "Why?")
"""Steps that begin unlike each other."""
_OWN_LABEL = re.compile(r"^\s*Step \d+:\s*")


class VerifierReward:
    """A model that writes a verification of the steps so far and then says yes or no.

    Every path is a prompt of its own, which has only the text before the first step in common with others, so this
    costs by far more than a model that reads.
    Chains run in the background: while the policy writes, they get a share of the steps only.
    Code that a chain writes is text: nothing is ever executed.

    Raises:
        RewardSpecError: if the model's vocabulary has no single tokens for the verdicts.
    """

    def __init__(self, spec: VerifierSpec, model: LoadedModel, *, seed: int = 0) -> None:
        self.spec = spec
        self.model = model
        self.seed = seed
        self.verdicts = tuple(
            token_of(model.tokenizer, text, role=role) for role, text in (("yes", spec.yes), ("no", spec.no))
        )
        self.context_limit = min(spec.context_limit, model.info.context_tokens)
        self._encoder = SegmentEncoder(model.tokenizer)
        self._special = special_tokens(model.info.metadata, model.tokenizer)

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self.model.info.token_parameters

    async def open(self, question: str) -> VerifierSession:
        """Start a session."""
        return VerifierSession(self, question)

    def prompt(self, question: str, steps: Iterable[str], *, reply: str = "") -> tuple[int, ...]:
        """Return the tokens that ask for a verification of `steps`, and the reply so far after its opening.

        All is tokenised as one text, as the authors' server does with each request.
        """
        lines = [
            self.spec.step_label.replace(NUMBER, str(number)) + _OWN_LABEL.sub("", step).strip()
            for number, step in enumerate(steps, 1)
        ]
        contents = {QUESTION: question.strip(), SOLUTION: "\n".join(lines)}
        # Cut first, so that a placeholder in a question or a step stays text.
        message = "".join(contents.get(part, part) for part in _PLACEHOLDERS.split(self.spec.instruction))
        segments = prompt_segments(message, _PLAIN, self.model.info.chat_template, special=self._special)
        tokens = self._encoder.encode([*segments, Segment(self.spec.opening + reply, special=False)], joined=True)
        special = self._special
        if special.add_bos and special.bos_id is not None and tokens[:1] != [special.bos_id]:
            tokens.insert(0, special.bos_id)
        return tuple(tokens)

    def stops(self, steps: int) -> re.Pattern[str]:
        """Return the pattern that ends a chain over `steps` steps."""
        label = self.spec.step_label.replace(NUMBER, str(steps + 1)).strip()
        return re.compile("|".join(map(re.escape, (*self.spec.stops, *([label] if label else [])))) or r"(?!)")

    def chance(self, logits: Sequence[float]) -> float:
        """Return P(yes) from the logits of yes and no."""
        yes, no = logits
        return sigmoid((yes - no) / self.spec.decision_temperature)


class VerifierSession:
    """The paths of one question."""

    def __init__(self, reward: VerifierReward, question: str) -> None:
        self._reward = reward
        self._question = question
        self._limiter = anyio.CapacityLimiter(PARALLEL_PATHS)
        self._probes = list[tuple[int, ...]]()
        self.usage = ScoreUsage()
        """Tokens used since the session was opened."""

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if prompts leave no room for a verdict; nothing has been evaluated then.
            RewardError: if a path cannot be scored.
        """
        reward = self._reward
        prompts = [reward.prompt(self._question, step.path) for step in steps]
        room = reward.context_limit - DECISION_TOKENS
        long = [(step.node, len(prompt)) for step, prompt in zip(steps, prompts, strict=True) if len(prompt) >= room]
        if long:
            raise RewardContextExceeded(nodes=[node for node, _ in long], tokens=long[0][1], limit=room)
        scores: dict[int, float] = {}
        failures: list[Exception] = []

        async def verify(step: ScoredStep, prompt: tuple[int, ...]) -> None:
            async with self._limiter:
                try:
                    scores[step.node] = await self._verify(step, prompt, room - len(prompt))
                except RewardError as error:
                    failures.append(error)

        async with anyio.create_task_group() as tasks:
            for step, prompt in zip(steps, prompts, strict=True):
                start_task(tasks, verify, step, prompt)
        if failures:
            raise failures[0]
        return checked_scores(reward.name, steps, [scores[step.node] for step in steps])

    async def release(self, nodes: Sequence[int]) -> None:
        """Do nothing; a path's cache is freed when it has been scored."""

    async def close(self) -> None:
        """Do nothing; nothing is held between calls."""

    async def _verify(self, step: ScoredStep, prompt: tuple[int, ...], room: int) -> float:
        tree = await self._reward.model.open_run(prompt, background=True, shared=self._shared_tokens(prompt))
        try:
            chains = await self._chains(tree, step, room)
            results = await tree.read([self._verdict(tree.new_id(), chain, step) for chain in chains])
        finally:
            tree.close()
        for result in results:
            if result.too_long:
                raise RewardError(f"the verification of node {step.node} does not fit its context", node=step.node)
            self._count(result)
        return math.fsum(self._reward.chance(result.logits[0]) for result in results) / len(results)

    async def _chains(self, tree: TokenTree, step: ScoredStep, room: int) -> list[StepResult]:
        """Write the chains of a path, in their order."""
        spec, found = self._reward.spec, dict[int, StepResult]()
        stops = self._reward.stops(len(step.path))
        requests = [
            StepRequest(
                parent=ROOT,
                child=tree.new_id(),
                seed=node_seed(self._reward.seed, (step.node, number)),
                max_tokens=min(spec.max_tokens, room),
                sampling=TokenSampling(temperature=spec.temperature),
            )
            for number in range(1, spec.chains + 1)
        ]

        def take(result: StepResult) -> None:
            found[result.child] = result

        await tree.expand(
            requests, allowance=None, on_result=take, step=StepFormat(name="verification", pattern=stops.pattern)
        )
        for each in found.values():
            self._count(each)
        return [found[request.child] for request in requests]

    def _shared_tokens(self, prompt: tuple[int, ...]) -> int:
        """Return how many tokens the prompts of all paths of the question begin with; 0 if they are few."""
        self._probes = self._probes or [self._reward.prompt(self._question, (text,)) for text in _OTHER_STEPS]
        shared = min(common_prefix(prompt, probe) for probe in self._probes)
        return shared if shared >= LEAST_SHARED_TOKENS else 0

    def _verdict(self, node: int, chain: StepResult, step: ScoredStep) -> ReadRequest:
        """Return the request for the verdict after a chain, from which the stop itself is cut."""
        match = self._reward.stops(len(step.path)).search(chain.text)
        text = chain.text if match is None else chain.text[: match.start()]
        tokens = self._reward.prompt(self._question, step.path, reply=text + self._reward.spec.decision)
        return ReadRequest(
            node=node,
            parent=chain.child,
            tokens=tokens,
            read=(len(tokens) - 1,),
            ids=self._reward.verdicts,
        )

    def _count(self, result: StepResult | ReadResult) -> None:
        if isinstance(result, ReadResult):
            self.usage += ScoreUsage.of(result)
            return
        self.usage += ScoreUsage(
            evaluated_tokens=result.prompt_tokens,
            cached_tokens=result.cached_tokens,
            reevaluated_tokens=result.reevaluated_tokens,
            generated_tokens=result.generated_tokens,
            stored_tokens=result.stored_tokens,
            prefilled_tokens=result.prefilled_tokens,
        )
