"""Texts for many clients from one policy in ramify's runtime, with prefixes kept between requests."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.policy.prompts.prompt import try_chat
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.runtime.serve.token_tree import TokenTree
from ramify.errors import UsageError
from ramify.reward.tokens import Segment, SegmentEncoder
from ramify.sampling_params import StepFormat, TokenSampling, node_seed

KEPT = 8
"""Prompts of which the cache is kept, over all clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request for `count` texts that go on after `prompt` and `prefix`, which the model is taken to have written.

    `messages` are (role, content), or `prompt` is a whole text. `seed` None means that the server chooses. `max_tokens`
    None means as many as there is room for. A text ends before the first of `stops`.
    """

    peer: str
    messages: tuple[tuple[str, str], ...] = ()
    prompt: str | None = None
    prefix: str = ""
    count: int = 1
    max_tokens: int | None = None
    seed: int | None = None
    stops: tuple[str, ...] = ()
    sampling: TokenSampling = field(default_factory=TokenSampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A finished text. `stop` is the stop string that ended it, None if the model or a limit did."""

    text: str
    finish: str
    stop: str | None
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The texts, and their cost: `sent_tokens` were given, `prompt_tokens` of them had to be evaluated."""

    texts: list[Text]
    sent_tokens: int
    prompt_tokens: int


@dataclass(slots=True)
class _Conversation:
    """A prompt in the runtime with all that was written after it; `nodes` are known texts, "" is the prompt."""

    run: TokenTree
    text: str
    tokens: int
    nodes: dict[str, int] = field(default_factory=lambda: {"": 0})
    lengths: dict[int, int] = field(default_factory=lambda: {0: 0})
    last: int = 0
    users: int = 0

    def number(self) -> int:
        self.last += 1
        return self.last


class TextService:
    """Writes texts with `policy`; `seed` fixes those of requests without a seed."""

    def __init__(self, policy: LlamaPolicy, seed: int) -> None:
        self.policy = policy
        self._seed = seed
        self._encoder = SegmentEncoder(policy.model.tokenizer)
        self._open: OrderedDict[tuple[str, str], _Conversation] = OrderedDict()
        self._asked: dict[tuple[str, bytes], int] = {}

    async def write(self, ask: Ask) -> Written:
        """Write all texts of a request.

        Raises:
            QuestionTooLong: if the prompt does not fit the context.
            UsageError: if something in the request is out of range.
        """
        conversation, prefix = await self._conversation(ask)
        conversation.users += 1
        try:
            return await self._write(ask, conversation, prefix)
        finally:
            conversation.users -= 1

    def forget(self, peer: str) -> None:
        """Free all that is kept for a client, and start its choice of seeds anew."""
        for key in [key for key, each in self._open.items() if key[0] == peer and not each.users]:
            self._open.pop(key).run.close()
        self._asked = {key: count for key, count in self._asked.items() if key[0] != peer}

    async def _write(self, ask: Ask, conversation: _Conversation, prefix: str) -> Written:
        parent = self._place(conversation, prefix)
        sent = conversation.tokens + conversation.lengths[parent]
        room = self.policy.context_tokens - sent
        if room < 1:
            raise UsageError(f"the context length of {self.policy.context_tokens} tokens is exceeded", "send less")
        requests = [
            StepRequest(
                parent=parent,
                child=conversation.number(),
                seed=self._chosen_seed(ask, conversation, prefix) if ask.seed is None else ask.seed + index,
                max_tokens=min(ask.max_tokens or room, room),
                sampling=ask.sampling,
            )
            for index in range(ask.count)
        ]
        found: dict[int, StepResult] = {}

        def take(result: StepResult) -> None:
            found[result.child] = result

        await conversation.run.expand(requests, allowance=None, on_result=take, step=_step(ask.stops))
        results = [found[each.child] for each in requests]
        for result in results:
            if result.finish_reason != "eos" and result.tokens:
                conversation.nodes.setdefault(prefix + result.text, result.child)
                conversation.lengths[result.child] = conversation.lengths[parent] + len(result.tokens)
        return Written(
            texts=[_text(result, ask.stops) for result in results],
            sent_tokens=sent,
            prompt_tokens=sum(each.prompt_tokens + each.reevaluated_tokens for each in results),
        )

    async def _conversation(self, ask: Ask) -> tuple[_Conversation, str]:
        """Return the conversation of a request, and what of its text comes after that conversation's prompt."""
        if ask.prompt is None:
            segments, prefix = self._chat(ask.messages), ask.prefix
        else:
            known = [each.text for key, each in self._open.items() if key[0] == ask.peer]
            start = max((each for each in known if ask.prompt.startswith(each)), key=len, default=ask.prompt)
            segments, prefix = [Segment(start, special=True)], ask.prompt.removeprefix(start)
        text = "".join(segment.text for segment in segments)
        conversation = self._open.get((ask.peer, text))
        if conversation is None:
            tokens = self._encode(segments)
            opened = _Conversation(await self.policy.model.open_run(tokens), text, len(tokens))
            conversation = self._open.setdefault((ask.peer, text), opened)
            if conversation is not opened:
                opened.run.close()
        self._open.move_to_end((ask.peer, text))
        for key in [key for key, each in self._open.items() if not each.users and each is not conversation][:-KEPT]:
            self._open.pop(key).run.close()
        return conversation, prefix

    def _chat(self, messages: Sequence[tuple[str, str]]) -> list[Segment]:
        """Render messages; a template that drops system messages gets them at the start of the next message."""
        prompt, template = self.policy.prompt, self.policy.prompt.chat_template
        if template is None:
            raise UsageError("the model has no chat template", "use /v1/completions")
        segments = try_chat(messages, template, prompt.special)
        if segments is None:
            segments = try_chat(_without_system(messages), template, prompt.special)
        if segments is None:
            raise UsageError("the model's chat template refuses these messages", "send other ones")
        return segments

    def _encode(self, segments: Sequence[Segment]) -> tuple[int, ...]:
        tokens, special = self._encoder.encode(segments), self.policy.prompt.special
        if special.add_bos and special.bos_id is not None and tokens[:1] != [special.bos_id]:
            tokens.insert(0, special.bos_id)
        return tuple(tokens)

    def _place(self, conversation: _Conversation, prefix: str) -> int:
        """Return the node whose text is `prefix`, below the longest known text that it starts with."""
        if prefix in conversation.nodes:
            return conversation.nodes[prefix]
        start = max((text for text in conversation.nodes if prefix.startswith(text)), key=len)
        tokens = tuple(self._encoder.encode([Segment(prefix.removeprefix(start), special=False)]))
        parent, node = conversation.nodes[start], conversation.number()
        conversation.run.adopt(node, parent, tokens, generated=False)
        conversation.nodes[prefix] = node
        conversation.lengths[node] = conversation.lengths[parent] + len(tokens)
        return node

    def _chosen_seed(self, ask: Ask, conversation: _Conversation, prefix: str) -> int:
        """Return the seed of the next text at this place: the same for every client that gets there."""
        place = blake2b(f"{conversation.text}\0{prefix}".encode(), digest_size=8).digest()
        number = self._asked[ask.peer, place] = self._asked.get((ask.peer, place), -1) + 1
        return node_seed(self._seed, (int.from_bytes(place, "little"), number))


def _without_system(messages: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    kept: list[tuple[str, str]] = []
    waiting = ""
    for role, content in messages:
        if role == "system":
            waiting += f"{content.strip()}\n\n" if content.strip() else ""
        else:
            kept.append((role, waiting + content))
            waiting = ""
    return kept


def _step(stops: tuple[str, ...]) -> StepFormat | None:
    return StepFormat(name="stop", pattern="|".join(re.escape(each) for each in stops)) if stops else None


def _text(result: StepResult, stops: tuple[str, ...]) -> Text:
    found = [(result.text.find(stop), stop) for stop in stops if stop in result.text]
    at, stop = min(found, default=(len(result.text), None))
    finish = "stop" if stop is not None or result.finish_reason == "eos" else "length"
    return Text(text=result.text[:at], finish=finish, stop=stop, generated_tokens=len(result.tokens))
