"""Messages between the engine and the worker process: steps, and the requests and replies that carry them.

All are small, frozen and picklable. `model` is the number of a loaded model, `run` that of one of its runs. Node 0 of
a run is its prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ramify.errors import RamifyError
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import StepFormat, ThoughtSteps, TokenSampling
from ramify.search.node import FinishReason

from .llama.config import ModelConfig, ModelInfo
from .llama.gguf_check import GgufSummary

ROOT = 0
"""The node of a run's prompt."""

SLOW_PARAMETERS = 50_000_000
"""Weights from which on a model may be too slow for a full batch of prompt tokens, or for a wide search."""


# Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Text that the policy wrote earlier in a conversation, and the instruction that followed.

    `node` holds the text; `tokens` are its tokens, the end-of-sequence token included, empty if `text` has to be
    tokenised.
    """

    node: int
    text: str
    tokens: tuple[int, ...]
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGrammar:
    """Form of the answer that ends a path.

    Where the model ends its text, `after` so many tokens of the step (None: never), or where `reserve` tokens are left
    of the context, `mark` is put in, and from there on tokens are drawn that the grammar allows. `written` is the part
    of the answer in the path, None if it has not begun. `schema` is the JSON schema that the grammar was made of, for
    models behind servers.
    """

    grammar: str
    mark: str
    after: int | None = None
    reserve: int = 0
    written: str | None = None
    schema: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One child to be written below `parent`, until its step ends.

    `seed` fixes the draws, independent of other sequences. `max_tokens` bounds the step, and a step of less than
    `min_tokens` goes on with the next one. `to_the_end` asks for the rest of the path in one go instead of one step.
    `keep` says that text may follow even the end of the model's text. `opened` is the mark that ends the code fence or
    the display math in which the text so far ends, "" outside of both, and `call` the mark that ends the call of a tool
    in which it ends. With `calculator` the values of expressions are put in after `=` instead of being sampled; `line`
    is the unfinished line of the text so far, which an expression may begin in. `tell_logprobs` asks for the log
    probability of each token in the result. `stop` is a pattern that ends the path beside that of the step format, ""
    for none. `thought` says where a step in a thought ends, None outside of thoughts. `beside` says that other text
    goes on after the node above `parent`, so that its logits are kept too. `answer` is the form of the answer that ends
    the path, None for none.

    The rest is for the policy, and does not reach the worker. `path` holds the child numbers from the root and names
    the child in any order of work; `seed` is derived from it. `prefix` is the text generated so far on this path
    (the question excluded). `turns`, oldest first, are the conversation between the question and this text; empty for
    a step of a path. `calls_tools` says that the step may end with a call of a tool.
    """

    parent: int
    child: int
    seed: int
    max_tokens: int
    min_tokens: int = 1
    sampling: TokenSampling = field(default_factory=TokenSampling)
    to_the_end: bool = False
    keep: bool = False
    opened: str = ""
    call: str = ""
    calculator: bool = False
    line: str = ""
    stop: str = ""
    answer: AnswerGrammar | None = None
    tell_logprobs: bool = False
    thought: ThoughtSteps | None = None
    beside: bool = False
    path: tuple[int, ...] = ()
    prefix: str = ""
    turns: tuple[Turn, ...] = ()
    calls_tools: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A step that a StepRequest asked for, with its own cost.

    `text` excludes the end-of-sequence token or the stop sequence, `tokens` includes it; `generated_tokens` is their
    number, also where a backend reports no tokens. `logprob` is the sum of the natural log probabilities of the tokens
    at temperature 1, those of the calculator excepted, None if the backend does not tell. `token_logprobs` are those of
    each token if they were asked for, None for a token of the calculator. `kept_open` says that the model would have
    closed its thought here (ThoughtSteps.keeps_on). The other counts are as in RoleUsage.
    `first_token_at` is when the run, or the step, had its first token, on the clock of `time.monotonic`, which the
    processes of a computer share; None if the backend does not tell.
    """

    child: int
    text: str
    tokens: tuple[int, ...]
    generated_tokens: int
    logprob: float | None
    finish_reason: FinishReason
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reevaluated_tokens: int = 0
    shared_tokens: int = 0
    calculated_tokens: int = 0
    reused_tokens: int = 0
    drafted_tokens: int = 0
    rejected_tokens: int = 0
    stored_tokens: int = 0
    prefilled_tokens: int = 0
    first_token_at: float | None = field(default=None, compare=False)
    token_logprobs: tuple[float | None, ...] = ()
    kept_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a step that is being generated: its tokens and its text so far."""

    run: int
    child: int
    tokens: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counters of one loaded model since it was loaded.

    `tokens` were evaluated. `child_sequences` and `shared_sequences` are summed over decode calls: children that have
    drawn the same tokens so far are one shared sequence, and need one token evaluated. `sequences_used` and
    `cells_used` are in use at the moment.
    """

    decode_calls: int = 0
    tokens: int = 0
    child_sequences: int = 0
    shared_sequences: int = 0
    decode_s: float = 0.0
    sampling_s: float = 0.0
    sequences_used: int = 0
    cells_used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeTimes:
    """Time that one loaded model's decode calls take, sampling included; old calls count less.

    `prompt_tokens` were read in `prompt_s` seconds. `steps` has (sequences, calls, seconds) of the calls in which each
    sequence draws one token, by their number of sequences.
    """

    prompt_tokens: float = 0.0
    prompt_s: float = 0.0
    steps: tuple[tuple[int, float, float], ...] = ()

    def __add__(self, other: DecodeTimes) -> DecodeTimes:
        """Return the times of both together."""
        steps = {width: (calls, seconds) for width, calls, seconds in self.steps}
        for width, calls, seconds in other.steps:
            before = steps.get(width, (0.0, 0.0))
            steps[width] = (before[0] + calls, before[1] + seconds)
        return DecodeTimes(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            prompt_s=self.prompt_s + other.prompt_s,
            steps=tuple((width, *sums) for width, sums in sorted(steps.items())),
        )


RunResult = tuple[int, StepResult | ReadResult]
"""A run's number, and a result of it."""


# Requests to the worker


@dataclass(frozen=True, slots=True)
class Load:
    """Load a model as number `model`; `summary` is that of the check of its file."""

    model: int
    config: ModelConfig
    summary: GgufSummary


@dataclass(frozen=True, slots=True)
class Warm:
    """Load the weights of a model for which a `Load` will come."""

    config: ModelConfig
    summary: GgufSummary


@dataclass(frozen=True, slots=True)
class OpenRun:
    """Start a run; a `background` run waits while others have work.

    The first `shared` tokens of the prompt are those that prompts of other runs begin with too. `state` is the file in
    which the cells of these are kept for later processes, "" for none.
    """

    model: int
    run: int
    prompt: tuple[int, ...]
    background: bool = False
    shared: int = 0
    state: str = ""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Add a node that was not generated in this run; `generated` says that this model wrote it in another one.

    A `stored` node was taken from a store instead of being generated here: to evaluate it is no repetition.
    """

    model: int
    run: int
    node: int
    parent: int
    tokens: tuple[int, ...]
    generated: bool
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Expand:
    """Generate children.

    `step` says where their steps end, None means only where the model ends its text. They share `allowance` tokens,
    None for no limit. `watched` asks for their progress. `paths` is how many paths the run will have at a time, 0 if
    they are these.
    """

    model: int
    run: int
    requests: tuple[StepRequest, ...]
    step: StepFormat | None
    allowance: int | None
    watched: bool = False
    paths: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """Read outputs along paths."""

    model: int
    run: int
    requests: tuple[ReadRequest, ...]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """End children now, None for all; each still gives its result, with FinishReason.CANCELLED."""

    model: int
    run: int
    children: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Free the state kept for nodes."""

    model: int
    run: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CloseRun:
    """Free a run; its children give no result."""

    model: int
    run: int


@dataclass(frozen=True, slots=True)
class AskStatistics:
    """Report the counters of a loaded model."""

    model: int


@dataclass(frozen=True, slots=True)
class AskVocabulary:
    """Tokenise a text, or give the bytes of a token; `special` says whether special tokens are recognised or shown.

    `number` is that of the question.
    """

    model: int
    number: int
    asked: str | int
    special: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """End the worker."""


RunRequest = OpenRun | Adopt | Expand | Read | Interrupt | Release | CloseRun
"""Requests about one run, for the decoder that has it."""

Request = Load | Warm | RunRequest | AskStatistics | AskVocabulary | Stop
"""Requests to the worker."""


# Replies of the worker


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """So many of a model file's bytes are in memory; `vocabulary_ready` says that its vocabulary has been loaded."""

    model: int
    loaded_bytes: int
    total_bytes: int
    vocabulary_ready: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model is ready."""

    model: int
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A model cannot be loaded."""

    model: int
    error: RamifyError


@dataclass(frozen=True, slots=True)
class Results:
    """Results of steps and reads."""

    model: int
    results: tuple[RunResult, ...]


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A run cannot go on."""

    model: int
    run: int
    error: RamifyError


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """Progress of the children that are watched."""

    model: int
    reports: tuple[Progress, ...]


@dataclass(frozen=True, slots=True)
class StatisticsReport:
    """The counters that AskStatistics asked for."""

    model: int
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class VocabularyReport:
    """The tokens and their bytes that AskVocabulary asked for, or why there are none.

    A question about a token gets this one token.
    """

    model: int
    number: int
    found: tuple[tuple[int, bytes], ...] | RamifyError


@dataclass(frozen=True, slots=True)
class TimesReport:
    """The times of a model at work, sent now and then unasked."""

    model: int
    times: DecodeTimes


@dataclass(frozen=True, slots=True)
class Alive:
    """The worker is at work."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The worker ends because of an error that is not the engine's."""

    text: str


ModelReply = (
    LoadProgress
    | Loaded
    | LoadFailed
    | Results
    | RunFailed
    | ProgressReport
    | StatisticsReport
    | VocabularyReport
    | TimesReport
)
"""Replies about one loaded model."""

Reply = ModelReply | Alive | Broken
"""Replies of the worker."""


def common_prefix(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Return the length of the longest common prefix."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    return next(index for index in range(limit) if left[index] != right[index])
