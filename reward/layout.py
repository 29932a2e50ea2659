"""Token layout of a path for rewards read at tags: all its tokens and the positions of its scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ramify.errors import RewardError, RewardSpecError

from .protocol import Tokenizer
from .specs import QUESTION, STEP, RewardSpec
from .tokens import Segment, SegmentEncoder, single_token, token_of

_SAMPLE = ("What is 2 + 3?", ("2 + 3 = 5", "The answer is 5."))


@dataclass(frozen=True, slots=True)
class PathTokens:
    """A path as the reward model reads it: all its tokens, and the positions of the wanted scores, ascending."""

    tokens: tuple[int, ...]
    read: tuple[int, ...]


class PathLayout:
    """Lays out questions and steps after a spec in one vocabulary.

    Raises:
        RewardSpecError: if the spec does not fit the vocabulary.
    """

    def __init__(self, spec: RewardSpec, tokenizer: Tokenizer) -> None:
        self.spec = spec
        self._tokenizer = tokenizer
        self._encoder = SegmentEncoder(tokenizer)
        self.tag = single_token(tokenizer, spec.tag, role="tag")
        """Id of the token that closes a step."""
        self._tail = spec.step_template.split(STEP)[1].rpartition(spec.tag)[2].encode()
        first = spec.first_step_template
        self._first_tail = self._tail if first is None else first.split(STEP)[1].rpartition(spec.tag)[2].encode()
        self.read_ids: tuple[int, ...] = self._read_ids()
        """Vocabulary ids whose logits make a score: good, and bad if there is one; none for a head of its own."""
        self._check_sample()

    def prompt(self, question: str) -> list[int]:
        """Return the tokens before the first step."""
        return self._encoder.encode(self._prompt_segments(question), joined=self.spec.joined != "nothing")

    def path(self, question: str, steps: Sequence[str], *, own: int = 1) -> PathTokens:
        """Return the tokens up to the score of the last step; the scores of the last `own` steps are to be read.

        Raises:
            RewardError: if the vocabulary merges a tag with the text around it.
        """
        read: list[int] = []
        tokens: list[int] = []
        own = 1 if self.spec.inner_step_template is not None else own
        for count in range(len(steps) - own + 1, len(steps) + 1):
            before = tokens[: read[-1] + 1] if read else []
            tokens, position = self._prefix(question, steps[:count])
            if tokens[: len(before)] != before:
                raise RewardError(
                    f"the reward model's vocabulary merges the tag {self.spec.tag!r} with the next step; "
                    "use the step format that the reward model was trained with"
                )
            read.append(position)
        return PathTokens(tuple(tokens), tuple(read))

    def _prefix(self, question: str, steps: Sequence[str]) -> tuple[list[int], int]:
        tokens = self._encode(question, steps)
        tag = self._last_tag(tokens, self._first_tail if len(steps) == 1 else self._tail)
        if self.spec.head == "rank":
            return tokens[: tag + 1], tag
        if self.spec.read_at == "tag":
            return tokens, tag
        return tokens[:tag], tag - 1

    def _last_tag(self, tokens: Sequence[int], tail: bytes) -> int:
        for position in range(len(tokens) - 1, 0, -1):
            if tokens[position] == self.tag:
                after = b"".join(self._tokenizer.piece(token) for token in tokens[position + 1 :])
                if after == tail:
                    return position
                break
        raise RewardError(
            f"the tag {self.spec.tag!r} is not a token of its own after a step; "
            "use the step format that the reward model was trained with"
        )

    def _encode(self, question: str, steps: Sequence[str]) -> list[int]:
        if self.spec.joined == "all" or self._encoder.adds_space:
            segments = (*self._prompt_segments(question), *self._step_segments(steps))
            return self._encoder.encode(segments, joined=True)
        return [*self.prompt(question), *self._encoder.encode(self._step_segments(steps))]

    def _read_ids(self) -> tuple[int, ...]:
        spec = self.spec
        if spec.head != "lm_head":
            return ()
        good = token_of(self._tokenizer, spec.good, role="good")
        return (good,) if spec.bad is None else (good, token_of(self._tokenizer, spec.bad, role="bad"))

    def _step_segments(self, steps: Sequence[str]) -> Iterator[Segment]:
        spec = self.spec
        for number, step in enumerate(steps, 1):
            template = (spec.first_step_template if number == 1 else None) or spec.step_template
            if number < len(steps) and spec.inner_step_template is not None:
                template = spec.inner_step_template
            yield from _filled(template, STEP, spec.normalise(step))

    def _prompt_segments(self, question: str) -> Iterator[Segment]:
        return _filled(self.spec.prompt_template, QUESTION, question)

    def _check_sample(self) -> None:
        question, steps = _SAMPLE
        try:
            sample = self.path(question, steps, own=len(steps))
        except RewardError as error:
            raise RewardSpecError(f"the reward spec {self.spec.name!r} does not fit this model: {error}") from error
        if sample.read[0] < 0:
            raise RewardSpecError(f"the reward spec {self.spec.name!r} has nothing before its tag to read from")


def _filled(template: str, placeholder: str, text: str) -> Iterator[Segment]:
    before, _, after = template.partition(placeholder)
    yield Segment(before, special=True)
    yield Segment(text, special=False)
    yield Segment(after, special=True)
