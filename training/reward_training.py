"""Training of a reward model on the hidden states of a GGUF file, and the file with which it is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ramify.config import EngineConfig
from ramify.engine.library.catalog import resolve_model
from ramify.engine.library.convert.heads import HeadFiles, copy_with_head, spare_rows
from ramify.engine.policy.prompts.prompt import prompt_segments
from ramify.engine.policy.prompts.prompt_format import choose_prompt_format
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.errors import ModelLoadError, RewardSpecError, UsageError
from ramify.reward.layout import PathLayout
from ramify.reward.protocol import ReadRequest
from ramify.reward.specs import QUESTION, STEP, RewardSpec

from .head_training import HeadPlan, HeadQuality, LabelledStates, TrainedHead, train_head

TAG = "\n"
"""Text that ends each step unless a format is given."""

PARALLEL_SOLUTIONS = 16
"""Solutions that are read at a time."""


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
        """How often the solution was sampled; it is trained on as often."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedReward:
    """A trained reward: its file, its format, its quality on held-out problems, and the number of epochs."""

    path: Path
    spec: RewardSpec
    quality: HeadQuality
    epochs: int


async def train_reward(
    labels: Sequence[LabelledSteps],
    model: str | Path,
    out: Path,
    plan: HeadPlan,
    *,
    spec: RewardSpec | None = None,
    config: EngineConfig | None = None,
) -> TrainedReward:
    """Train a head on labelled steps and write `model` with it to `out`.

    A linear head goes into a row of the output matrix, an MLP into `<out without suffix>.head.safetensors`. `spec`
    is the format of questions and steps; None takes the model's own prompt, and a line for each step.

    Raises:
        UsageError: if the labels do not suffice, or the model has no spare row.
        ModelLoadError: if the model cannot be loaded, or the format does not fit it.
    """
    source = resolve_model(model).path
    config = config or EngineConfig()
    settings = ModelConfig(path=str(source), threads=config.threads, gpu_layers=config.gpu_layers, states=True)
    async with Runtime(config.isolation) as runtime:
        loaded = await runtime.load(settings)
        try:
            base = _on_states(own_spec(loaded, out.stem) if spec is None else spec)
            data = await _collect(loaded, PathLayout(base, loaded.tokenizer), labels)
        except RewardSpecError as error:
            raise ModelLoadError(str(error)) from error
    head = train_head(data, plan)
    final, files = _served(base, head, source, out)
    copy_with_head(source, out, final, files)
    return TrainedReward(path=out, spec=final, quality=head.quality, epochs=head.epochs)


def own_spec(loaded: LoadedModel, name: str) -> RewardSpec:
    """Return a format with the model's own prompt as a policy, and each step on a line of its own."""
    metadata, tokenizer = loaded.info.metadata, loaded.tokenizer
    format = choose_prompt_format(metadata, tokenizer, chat_template=loaded.info.chat_template)
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


async def _collect(loaded: LoadedModel, layout: PathLayout, labels: Sequence[LabelledSteps]) -> LabelledStates:
    """Read the hidden state at the end of each labelled step; steps beyond the context are left out."""
    states: list[tuple[float, ...]] = []
    values: list[float] = []
    problems: list[str] = []
    for question in dict.fromkeys(label.question for label in labels):
        own = [label for label in labels if label.question == question]
        prompt = layout.prompt(question)
        if len(prompt) >= loaded.info.context_tokens:
            continue
        run = await loaded.open_run(prompt)
        for start in range(0, len(own), PARALLEL_SOLUTIONS):
            group = own[start : start + PARALLEL_SOLUTIONS]
            requests = [_request(layout, number, label) for number, label in enumerate(group, start + 1)]
            for label, result in zip(group, await run.read(requests), strict=True):
                if result.too_long:
                    continue
                states += result.logits * label.count
                values += tuple(label.values) * label.count
                problems += [question] * len(label.values) * label.count
        run.close()
    if not states:
        raise UsageError("there are no labels that fit the model's context", "label other problems")
    return LabelledStates(np.array(states, np.float32), np.array(values, np.float32), problems)


def _request(layout: PathLayout, node: int, label: LabelledSteps) -> ReadRequest:
    path = layout.path(label.question, list(label.steps), own=len(label.steps))
    return ReadRequest(node=node, parent=None, tokens=path.tokens, read=path.read, ids=(), what="states")


def _on_states(spec: RewardSpec) -> RewardSpec:
    changes = {"head": "mlp", "head_file": "head", "good": 0, "bad": None, "activation": "sigmoid"}
    return spec.model_copy(update={**changes, "scale": 1.0, "offset": 0.0})


def _served(base: RewardSpec, head: TrainedHead, source: Path, out: Path) -> tuple[RewardSpec, HeadFiles]:
    """Return the format and the tensors of the file that serves a head."""
    if "2.weight" in head.layers:
        name = f"{out.stem}.head.safetensors"
        return base.model_copy(update={"head_file": name}), HeadFiles(rows={}, layers=head.layers)
    (row,) = spare_rows(source, 1)
    offset = float(head.layers["0.bias"][0])
    spec = base.model_copy(update={"head": "lm_head", "head_file": None, "good": row, "offset": offset})
    return spec, HeadFiles(rows={row: head.layers["0.weight"][0]}, layers={})
