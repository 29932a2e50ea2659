"""A step in the making: what earlier requests gave, and the one in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ramify.search.node import FinishReason

from ...runtime.messages import StepRequest, StepResult
from .reply import Draft
from .stops import StepEnd

_MIX = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class StepInWriting:
    """Collects one step and its cost until it is complete; then `on_result` gets it, once.

    `text` is what complete requests gave, `generated` counts all tokens that servers wrote for it, used or not. `led`
    tells that a server's stop strings did not work at its start.
    """

    def __init__(self, request: StepRequest, on_result: Callable[[StepResult], None]) -> None:
        self.request = request
        self.text = ""
        self.generated = 0
        self.led = False
        self.completed = False
        self._on_result = on_result
        self._legs = 0
        self._draft: Draft | None = None
        self._logprob: float | None = 0.0
        self._prompt = (0, 0, 0)

    @property
    def room(self) -> int:
        """Tokens that it may still get."""
        return max(0, self.request.max_tokens - self.generated)

    @property
    def seed(self) -> int:
        """The seed of the next request; each that goes on from the one before has its own."""
        return (self.request.seed + self._legs * _MIX) & _MASK

    @property
    def draft(self) -> Draft:
        """The text that the present request gives."""
        assert self._draft is not None
        return self._draft

    @property
    def tokens_so_far(self) -> int:
        """Tokens written, those in flight included."""
        return self.generated + (0 if self._draft is None else self._draft.count())

    @property
    def text_so_far(self) -> str:
        """The text, that in flight included."""
        return self.text + ("" if self._draft is None else self._draft.text)

    def start(self, end: StepEnd | None) -> Draft:
        """Return a new draft; what a failed request had given is lost, and charged."""
        if self._draft is not None:
            self.generated += self._draft.count()
        self._draft = Draft(self.text, end)
        return self._draft

    def charge(self, generated: int, prompt: int, cached: int, again: int) -> None:
        """Book what the request cost."""
        self.generated += generated
        self._prompt = (self._prompt[0] + prompt, self._prompt[1] + cached, self._prompt[2] + again)

    def drop(self) -> None:
        """Give up a draft that was charged; the next request starts where it started."""
        self._draft, self.led = None, True

    def take(self, tail: str) -> None:
        """Add the draft, which was charged, and `tail` to the text."""
        draft = self.draft
        self.text += draft.text + tail
        known = draft.logprob is not None and self._logprob is not None
        self._logprob = (self._logprob or 0.0) + (draft.logprob or 0.0) if known else None
        self._draft = None
        self._legs += 1

    def complete(self, reason: FinishReason) -> None:
        """Hand out the result, unless that has been done."""
        if self.completed:
            return
        self.completed = True
        text, generated = self.text_so_far, self.tokens_so_far
        prompt, cached, again = self._prompt
        result = StepResult(
            child=self.request.child,
            text=text,
            tokens=(),
            generated_tokens=generated,
            logprob=self._logprob if self._legs and self._draft is None else None,
            finish_reason=reason,
            prompt_tokens=prompt,
            cached_tokens=cached,
            reevaluated_tokens=again,
        )
        self._on_result(result)


def groups(work: Sequence[tuple[StepInWriting, int]], *, together: bool) -> list[tuple[list[StepInWriting], int]]:
    """Return what is asked for in one request: steps that start alike and may get as many tokens, or each by itself."""
    if not together:
        return [([step], tokens) for step, tokens in work]
    alike = dict[tuple[object, ...], tuple[list[StepInWriting], int]]()
    for step, tokens in work:
        request = step.request
        start = request.prefix + step.text, request.sampling, request.to_the_end, request.turns, tokens
        alike.setdefault(start, ([], tokens))[0].append(step)
    return list(alike.values())
