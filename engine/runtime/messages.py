"""What the engine and the worker say to each other: small, frozen, picklable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ramify.sampling_params import SamplingParams, StepFormat

ReadWord = Literal["logits", "states", "tokens", "rank"]
"""What is read at a position; the values of `ramify.reward.protocol.Reading`, which this layer does not import."""

ROOT = 0
"""The node of a run's prompt."""

FinishWord = Literal["step", "eos", "length", "budget", "cancelled", "context"]
"""Why a lane ended; the values of `ramify.search.node.FinishReason`, which this layer does not import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRequest:
    """A child to be generated below `parent` until its step ends.

    Node 0 is the prompt. `seed` fixes the draws, whatever else is decoded. `step` None means until end of sequence.
    `watched` lanes have their progress reported now and then. `keep` says that text will follow even an end of
    sequence.
    """

    parent: int
    child: int
    seed: int
    max_tokens: int
    sampling: SamplingParams = field(default_factory=SamplingParams)
    step: StepFormat | None = None
    watched: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step in the making."""

    run: int
    child: int
    tokens: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneResult:
    """A generated step and its own cost.

    `tokens` includes the end-of-sequence token, `text` does not. `logprob` sums natural logs at temperature 1.
    `prompt_tokens`, `cached_tokens`, `reevaluated_tokens` and `shared_tokens` are as in RoleUsage.
    """

    child: int
    tokens: tuple[int, ...]
    text: str
    logprob: float
    finish_reason: FinishWord
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reevaluated_tokens: int = 0
    shared_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """A path to be read: `tokens` is all of it, `read` are its positions, `what` is returned of each.

    "logits" are those at `ids`, "states" the final hidden state, of a model loaded for that, "tokens" the log
    probability of the path's next token and the distribution's self-certainty, "rank" the classifier's outputs for
    the whole path, of a model loaded for that; for all three, `ids` is empty. `keep` says that lanes will go on from
    the end of the path, which is read.
    """

    node: int
    parent: int | None
    tokens: tuple[int, ...]
    read: tuple[int, ...]
    ids: tuple[int, ...]
    what: ReadWord = "logits"
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResult:
    """What a ReadRequest asked for, in `logits`: one row for each position. `too_long`: it did not fit."""

    node: int
    logits: tuple[tuple[float, ...], ...]
    evaluated_tokens: int = 0
    cached_tokens: int = 0
    reevaluated_tokens: int = 0
    too_long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counters of one loaded model since it was loaded; `tokens`, `lanes` and `strands` are summed over decode calls.

    `tokens` were evaluated. Lanes that have written the same so far are one strand and need one token evaluated.
    """

    decode_calls: int = 0
    tokens: int = 0
    lanes: int = 0
    strands: int = 0
    decode_s: float = 0.0
    sampling_s: float = 0.0
    reevaluated_tokens: int = 0
    cells_used: int = 0
    sequences_used: int = 0


def common_prefix(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Length of the longest common prefix."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    return next(index for index in range(limit) if left[index] != right[index])
