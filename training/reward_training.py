"""Training of a reward model on the hidden states of a GGUF file, and the file with which it is served."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ramify.config import EngineConfig
from ramify.engine.library.catalog import resolve_model
from ramify.engine.library.convert.heads import HeadFiles, copied_bytes, copy_with_head, spare_rows
from ramify.engine.library.convert.writing import gguf_library
from ramify.engine.policy.prompts.prompt import prompt_segments
from ramify.engine.policy.prompts.prompt_format import choose_prompt_format
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.gguf_check import check_gguf
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.errors import ModelLoadError, RewardSpecError, UsageError
from ramify.reward.layout import PathLayout
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.reward.specs import QUESTION, STEP, RewardSpec

from .head_training import HeadPlan, HeadQuality, LabelledStates, TrainedHead, check_values, train_head
from .preflight import check_output
from .state_cache import StateCache, States, solution_key, states_key

TAG = "\n"
"""Text that ends each step unless a format is given."""

PARALLEL_SOLUTIONS = 16
"""Solutions that are read at a time."""

_NO_ROWS: States = np.empty((0, 0), np.float32)


class LabelledSteps(Protocol):
    """A solution with the value of each of its prefixes, as in a label file."""

    @property
    def question(self) -> str:
        """The problem."""
        ...

    @property
    def steps(self) -> Sequence[str]:
        """The steps' texts."""
        ...

    @property
    def values(self) -> Sequence[float]:
        """The chance of a right answer after each step."""
        ...

    @property
    def count(self) -> int:
        """Number of times that the solution was sampled; it is trained on as often."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedReward:
    """A trained reward: its file, its format, its quality on held-out problems, and the number of epochs."""

    path: Path
    spec: RewardSpec
    quality: HeadQuality
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Progress of the reading of states: `done` of `total` different solutions, `found` of them on the disk.

    `tokens` is the length of those that were not found, each problem counted once, and `read_tokens` of those read so
    far in `seconds`.
    """

    done: int
    total: int
    found: int
    tokens: int
    read_tokens: int
    seconds: float


async def train_reward(
    labels: Sequence[LabelledSteps],
    model: str | Path,
    out: Path,
    plan: HeadPlan,
    *,
    spec: RewardSpec | None = None,
    config: EngineConfig | None = None,
    states: Path | None = None,
    on_reading: Callable[[Reading], None] = lambda reading: None,
) -> TrainedReward:
    """Train a head on labelled steps and write `model` with it to `out`.

    A linear head goes into a row of the output matrix, an MLP into `<out without suffix>.head.safetensors`. `spec`
    is the format of questions and steps; None takes the model's own prompt, and a line for each step. `states` is the
    folder that keeps the hidden states, None for none: with them a training that was cut goes on, and another head
    costs no reading. `on_reading` is called before the first solution is read, and now and then.

    Raises:
        UsageError: before the model is loaded, if a package is missing, `out` cannot be written, the labels do not
            suffice, or the model has no spare row.
        ModelLoadError: if the model cannot be loaded, or the format does not fit it.
    """
    source = resolve_model(model).path
    row = check_training(labels, source, out, plan, states)
    config = config or EngineConfig()
    async with Runtime(config.isolation) as runtime:
        loaded = await runtime.load(ModelConfig.of(config, source, states=True))
        try:
            base = _on_states(own_spec(loaded, out.stem, config.prompt_preset) if spec is None else spec)
            layout = PathLayout(base, loaded.tokenizer)
        except RewardSpecError as error:
            raise ModelLoadError(str(error)) from error
        # The name of the file to be written does not change what is read.
        facts = base.model_dump(mode="json", exclude={"name"})
        with StateCache(states, states_key(source, facts, loaded.info.context_tokens)) as cache:
            await _read(loaded, layout, labels, cache, on_reading)
            data = _labelled_states(labels, cache)
    head = train_head(data, plan)
    final, files = _served(base, head, row, out)
    copy_with_head(source, out, final, files)
    return TrainedReward(path=out, spec=final, quality=head.quality, epochs=head.epochs)


def check_training(
    labels: Sequence[LabelledSteps], source: Path, out: Path, plan: HeadPlan, states: Path | None = None
) -> int | None:
    """Check all that a training needs, before a model is loaded; return the spare row for a linear head, else None.

    Raises:
        UsageError: if the package for writing is missing, `out` or `states` cannot be written or there is no room for
            them, the labels do not suffice, or the model has no spare row.
        ModelLoadError: if `source` is no GGUF file.
    """
    gguf_library()
    problems = [label.question for label in labels for _ in label.values]
    check_values(np.array([value for label in labels for value in label.values], np.float32), problems, plan)
    if source.resolve() == out.resolve():
        raise UsageError(f"{out} is the model itself", "choose another file for the output")
    linear, facts = plan.kind == "linear", check_gguf(source)
    size = copied_bytes(source, rows=linear)
    if states is not None:
        width = int(facts.metadata.get(f"{facts.architecture}.embedding_length", 0))
        different = {(label.question, *label.steps): len(label.steps) for label in labels}
        kept = 4 * width * sum(different.values())
        check_output(states / "states", kept, option="folder for the labels")
        size += kept
    check_output(out, size)
    return spare_rows(source, 1)[0] if linear else None


def own_spec(loaded: LoadedModel, name: str, preset: str | None = None) -> RewardSpec:
    """Return a format with the model's prompt as a policy, and each step on a line of its own.

    `preset` None means the prompt that suits the model.

    Raises:
        UsageError: if there is no such preset.
    """
    metadata, tokenizer = loaded.info.metadata, loaded.tokenizer
    format = choose_prompt_format(metadata, tokenizer, chat_template=loaded.info.chat_template, preset=preset)
    segments = prompt_segments(QUESTION, format.preset, format.chat_template, special=format.special)
    template = "".join(segment.text for segment in segments)
    bos = format.special.bos
    if format.special.add_bos and not template.startswith(bos):
        template = bos + template
    return RewardSpec(
        name=name,
        prompt_template=template,
        step_template=f"{STEP}{TAG}",
        tag=TAG,
        good=0,
        activation="sigmoid",
        context_limit=loaded.info.context_tokens,
        strip_steps=True,
    )


async def _read(
    loaded: LoadedModel,
    layout: PathLayout,
    labels: Sequence[LabelledSteps],
    cache: StateCache,
    on_reading: Callable[[Reading], None],
) -> None:
    """Put the hidden states at the ends of all labelled steps into the cache; a solution that is too long has none."""
    questions: dict[str, dict[str, LabelledSteps]] = {}
    for label in labels:
        questions.setdefault(label.question, {})[_key(label)] = label
    total = sum(map(len, questions.values()))
    missing = {
        question: {key: label for key, label in own.items() if key not in cache} for question, own in questions.items()
    }
    found = total - sum(map(len, missing.values()))
    work = [
        (question, layout.prompt(question), {key: _request(layout, 1, label) for key, label in own.items()})
        for question, own in missing.items()
        if own
    ]
    tokens = sum(len(prompt) + _own_tokens(prompt, requests) for _, prompt, requests in work)
    done, read_tokens, started_s = found, 0, time.monotonic()

    def tell() -> None:
        seconds = time.monotonic() - started_s
        on_reading(
            Reading(done=done, total=total, found=found, tokens=tokens, read_tokens=read_tokens, seconds=seconds)
        )

    tell()
    for _, prompt, requests in work:
        keys = list(requests)
        if len(prompt) >= loaded.info.context_tokens:
            cache.add(dict.fromkeys(keys, _NO_ROWS))
            done += len(keys)
            continue
        run = await loaded.open_run(prompt)
        read_tokens += len(prompt)
        for start in range(0, len(keys), PARALLEL_SOLUTIONS):
            group = keys[start : start + PARALLEL_SOLUTIONS]
            asked = [replace(requests[key], node=node) for node, key in enumerate(group, start + 1)]
            results = await run.read(asked)
            cache.add({key: _rows(result) for key, result in zip(group, results, strict=True)})
            done += len(group)
            read_tokens += _own_tokens(prompt, {key: requests[key] for key in group})
            tell()
        run.close()


def _rows(result: ReadResult) -> States:
    return np.array(result.logits, np.float32) if result.logits and not result.too_long else _NO_ROWS


def _own_tokens(prompt: Sequence[int], requests: Mapping[str, ReadRequest]) -> int:
    """Return the tokens of paths beyond their prompt."""
    return sum(max(0, len(request.tokens) - len(prompt)) for request in requests.values())


def _labelled_states(labels: Sequence[LabelledSteps], cache: StateCache) -> LabelledStates:
    """Return the states of all labels in their order; steps beyond the context are left out."""
    states: list[States] = []
    values: list[float] = []
    problems: list[str] = []
    for label in sorted(labels, key=_order(labels)):
        rows = cache.get(_key(label))
        if not len(rows):
            continue
        states += [rows] * label.count
        values += tuple(label.values) * label.count
        problems += [label.question] * len(label.values) * label.count
    if not states:
        raise UsageError("there are no labels that fit the model's context", "label other problems")
    return LabelledStates(np.concatenate(states), np.array(values, np.float32), problems)


def _order(labels: Sequence[LabelledSteps]) -> Callable[[LabelledSteps], int]:
    """Return the key that puts labels of one problem together, problems in the order of their first label."""
    places: dict[str, int] = {}
    for label in labels:
        places.setdefault(label.question, len(places))
    return lambda label: places[label.question]


def _key(label: LabelledSteps) -> str:
    return solution_key(label.question, label.steps)


def _request(layout: PathLayout, node: int, label: LabelledSteps) -> ReadRequest:
    path = layout.path(label.question, list(label.steps), own=len(label.steps))
    return ReadRequest(node=node, parent=None, tokens=path.tokens, read=path.read, ids=(), what="states")


def _on_states(spec: RewardSpec) -> RewardSpec:
    changes = {"head": "mlp", "head_file": "head", "good": 0, "bad": None, "activation": "sigmoid"}
    return spec.model_copy(update={**changes, "scale": 1.0, "offset": 0.0})


def _served(base: RewardSpec, head: TrainedHead, row: int | None, out: Path) -> tuple[RewardSpec, HeadFiles]:
    """Return the format and the tensors of the file that serves a head."""
    if "2.weight" in head.layers:
        name = f"{out.stem}.head.safetensors"
        return base.model_copy(update={"head_file": name}), HeadFiles(rows={}, layers=head.layers)
    assert row is not None
    offset = float(head.layers["0.bias"][0])
    spec = base.model_copy(update={"head": "lm_head", "head_file": None, "good": row, "offset": offset})
    return spec, HeadFiles(rows={row: head.layers["0.weight"][0]}, layers={})
