"""Steps in progress: text and cost of the complete requests for a step, and of the one in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ramify.sampling_params import StepFormat
from ramify.search.node import FinishReason

from ...runtime.decode.step_text import is_whole, open_block
from ...runtime.messages import StepRequest, StepResult
from .reply import StreamedText
from .step_end import StepEnd

_MIX = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class PendingStep:
    """A step in progress; `on_result` is called once, when it is complete.

    `text` is the text of the complete requests, `generated` counts all tokens that servers generated for the step, used
    or not. `stopped_at_start` tells that a stop string ended the step before it began. `answering` is true once the
    answer by a schema has begun, which is a request of its own.
    """

    def __init__(self, request: StepRequest, on_result: Callable[[StepResult], None]) -> None:
        self.request = request
        self.text = ""
        self.generated = 0
        self.stopped_at_start = False
        self.completed = False
        self.answering = request.answer is not None and request.answer.written is not None
        self._most = request.max_tokens
        self._on_result = on_result
        self._requests = 0
        self._passed = 0
        self._current: StreamedText | None = None
        self._logprob: float | None = 0.0
        self._prompt = (0, 0, 0)
        self._first_at: float | None = None

    @property
    def room(self) -> int:
        """Tokens that may still be generated; before an answer by a schema without those that are kept for it."""
        most, wanted = self._most, self.request.answer
        if wanted is not None and wanted.after is not None and not self.answering:
            most = min(most, wanted.after)
        return max(0, most - self.generated)

    def begin_answer(self, *, apart: bool = False) -> None:
        """Put in the mark before an answer by a schema; one asked for `apart` has its reserve in any case."""
        assert self.request.answer is not None
        self.text += self.request.answer.mark
        self.answering = True
        if apart:
            self._most = max(self._most, self.generated + self.request.answer.reserve)

    def begin_due_answer(self) -> None:
        """Begin the answer by a schema if the text has no more room."""
        wanted = self.request.answer
        if wanted is not None and wanted.after is not None and not self.answering and self.generated >= wanted.after:
            self.begin_answer()

    def may_answer(self, written: str) -> bool:
        """Tell whether the answer by a schema comes now, where the model has ended the text with `written`.

        Where this step has too few tokens left for it, the next one is the answer.
        """
        wanted = self.request.answer
        if wanted is None or self.answering:
            return False
        left = self.request.max_tokens - self.generated
        return left >= min(wanted.reserve, self.request.max_tokens) or not written.strip()

    @property
    def seed(self) -> int:
        """Seed of the next request; every request that continues the step has a seed of its own."""
        return (self.request.seed + self._requests * _MIX) & _MASK

    @property
    def current(self) -> StreamedText:
        """Text of the request in flight."""
        assert self._current is not None
        return self._current

    @property
    def tokens_so_far(self) -> int:
        """Tokens generated, those of the request in flight included."""
        return self.generated + (0 if self._current is None else self._current.count())

    @property
    def text_so_far(self) -> str:
        """The text, that of the request in flight included."""
        return self.text + ("" if self._current is None else self._current.text)

    def start(self, end: StepEnd | None, stop: str = "") -> StreamedText:
        """Return an empty text for a new request; the text of a failed one is dropped, its tokens are charged.

        `end` and `stop` are as in StreamedText.
        """
        if self._current is not None:
            self.generated += self._current.count()
        self._current = StreamedText(self.text, end, self._passed, stop, keeps_thoughts=not self.answering)
        return self._current

    def charge(self, generated: int, prompt: int, cached: int, reevaluated: int) -> None:
        """Add the token counts of a request: generated, and of the prompt evaluated, cached and reevaluated."""
        self.generated += generated
        self._prompt = (self._prompt[0] + prompt, self._prompt[1] + cached, self._prompt[2] + reevaluated)

    def drop(self) -> None:
        """Drop the text of a charged request; the next one starts at the same place."""
        self._current, self.stopped_at_start = None, True

    def may_end(self, format: StepFormat) -> bool:
        """Return whether the step may end here: it is long enough, and neither in a block nor a heading alone."""
        if self.generated < self.request.min_tokens:
            return False
        return not format.whole_blocks or is_whole(self.text, open_block(self.request.prefix))

    def pass_over(self) -> None:
        """Go on with the next request as if no step had ended here."""
        self._passed = len(self.text)

    def append(self, tail: str) -> None:
        """Append the text of a charged request, and `tail`."""
        streamed = self.current
        self._note_first()
        self.text += streamed.text + tail
        known = streamed.logprob is not None and self._logprob is not None
        self._logprob = (self._logprob or 0.0) + (streamed.logprob or 0.0) if known else None
        self._current = None
        self._requests += 1

    def complete(self, reason: FinishReason) -> None:
        """Report the result, unless the step is complete already."""
        if self.completed:
            return
        self.completed = True
        self._note_first()
        text, generated = self.text_so_far, self.tokens_so_far
        prompt, cached, reevaluated = self._prompt
        result = StepResult(
            child=self.request.child,
            text=text,
            tokens=(),
            generated_tokens=generated,
            logprob=self._logprob if self._requests and self._current is None else None,
            finish_reason=reason,
            prompt_tokens=prompt,
            cached_tokens=cached,
            reevaluated_tokens=reevaluated,
            first_token_at=self._first_at,
        )
        self._on_result(result)

    def _note_first(self) -> None:
        if self._first_at is None and self._current is not None:
            self._first_at = self._current.first_at


def group_requests(work: Sequence[tuple[PendingStep, int]], *, together: bool) -> list[tuple[list[PendingStep], int]]:
    """Return the steps of each request: with `together`, those with the same prompt and limit; else each by itself."""
    if not together:
        return [([step], tokens) for step, tokens in work]
    alike = dict[tuple[object, ...], tuple[list[PendingStep], int]]()
    for step, tokens in work:
        request = step.request
        start = request.prefix + step.text, request.sampling, request.to_the_end, request.turns, step.answering, tokens
        alike.setdefault(start, ([], tokens))[0].append(step)
    return list(alike.values())
