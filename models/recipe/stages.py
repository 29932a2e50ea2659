"""The stages of the recipe, from the tokenizer to the cards. Every stage can be repeated."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import torch
from tokenizers import Tokenizer

from ramify.files import replacing, write_text
from ramify.json_text import read_json
from ramify.training.label_files import label_problems
from ramify.training.labelling import LabelPlan

from ..tasks.tasks import Task, label_stream
from .cards import files_of, make_card, write_card
from .distill import Distillation, DistillPlan
from .evaluate import evaluate_policy, save_quality
from .export import export_gguf, quantize
from .network import Decoder
from .policies import POLICIES
from .reward import RewardPlan, read_labels, train_reward
from .tokenizer import load_tokenizer, train_tokenizer, with_thoughts
from .train import Progress, Schedule, Trainer, load_policy, prepare

log = logging.getLogger(__name__)

LIMITS: dict[str, Any] = {"max_step_tokens": 64, "max_path_tokens": 256}
"""Longest step and longest path in tokens; solutions of the bundled tasks take less."""
LABELLINGS: dict[str, tuple[tuple[range, LabelPlan], ...]] = {
    "m": (
        (range(1050), LabelPlan(solutions=4, rollouts=4, **LIMITS)),
        (range(359), LabelPlan(solutions=32, **LIMITS)),
        (range(1050, 2436), LabelPlan(solutions=8, **LIMITS)),
    ),
    "lists": ((range(600), LabelPlan(solutions=8, **LIMITS)),),
}
"""Whose chances reward models learn, on which problems and how.

Forked rollouts say most of a prefix, whole samples cover most problems.
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Folders of the recipe: `work` keeps checkpoints, data and measurements; `models` is the package folder."""

    work: Path
    models: Path
    threads: int | None = None

    @property
    def weights(self) -> Path:
        """The folder of the bundled GGUF files and JSON cards."""
        return self.models / "weights"

    def tokenizer(self) -> None:
        """Train the shared tokenizer, unless it is there: the models depend on its exact numbering."""
        path = self.models / "tokenizer.json"
        if not path.exists():
            write_text(path, train_tokenizer().to_str(pretty=True), private=False)
        log.info("tokenizer: %d tokens", load_tokenizer(path).get_vocab_size())

    def train(self, name: str, tokens: int | None = None) -> None:
        """Train a policy of `POLICIES`, or continue to."""
        kind, policy = prepare(self.threads), POLICIES[name]
        self.work.mkdir(parents=True, exist_ok=True)
        schedule = Schedule(tokens or policy.tokens, rate=policy.rate, batch_tokens=policy.batch_tokens)
        start = None if policy.start is None else self.weights / f"demo-{policy.start}.f16.gguf"
        Trainer(name, schedule, self.work, self._tokenizer(name), kind, compiled=_can_compile(), start=start).run()

    def export(self, name: str) -> None:
        """Write the GGUF files of a policy."""
        model, _ = self._policy(name)
        self._write(model, f"demo-{name}", name, reward=False)

    def evaluate(self, name: str) -> None:
        """Measure a policy and keep the figures in the work folder."""
        prepare(self.threads)
        model, _ = self._policy(name)
        policy = POLICIES[name]
        quality = evaluate_policy(model, self._tokenizer(name), policy.task, thinks=policy.thinks)
        log.info("demo-%s: %s", name, quality)
        save_quality(quality, self.work / f"demo-{name}.quality.json")

    def label(self, name: str) -> None:
        """Label solutions by the exported policy, or continue to."""
        policy = POLICIES[name]
        source, task = self.weights / f"demo-{name}.f16.gguf", policy.task
        for path, (problems, plan) in zip(self.label_files(name), LABELLINGS[name], strict=True):
            anyio.run(label_problems, source, label_stream(problems, task), path, plan)

    def label_files(self, name: str) -> list[Path]:
        """Return one label file for each labelling by a policy."""
        return [self.work / f"labels-{name}-{number}.jsonl" for number in range(len(LABELLINGS[name]))]

    def reward(self, labels: Sequence[Path], name: str, plan: RewardPlan | None = None) -> None:
        """Train a reward model from `labels`, starting as a policy, and write its GGUF files."""
        kind, reward = prepare(self.threads), POLICIES[name].reward
        model, _ = self._policy(name)
        data, plan = [row for path in labels for row in read_labels(path)], plan or RewardPlan()
        quality = train_reward(model, self._tokenizer(name), data, plan, kind)
        with replacing(self.work / f"{reward}.pt", private=False) as part:
            torch.save({"model": model.state_dict(), "policy": name}, part)
        self._write(model, reward, name, reward=True)
        training = {
            "parameters": model.parameter_count(),
            "started_as": f"demo-{name}",
            "solutions": sum(d.count for d in data),
            "steps": sum(len(d.steps) * d.count for d in data),
            "epochs": plan.epochs,
        }
        found = {"training": training, "quality": asdict(quality), "shape": asdict(model.shape)}
        write_text(self.work / f"{reward}.quality.json", json.dumps(found, indent=2) + "\n", private=False)

    def distill(self, name: str, sources: tuple[Path, ...] = (), **sizes: Any) -> dict[str, Any]:
        """Let a policy learn from searches, or go on, and measure it before and after; see `distill`."""
        kind = prepare(self.threads)
        plan = DistillPlan(**{key: value for key, value in sizes.items() if value is not None})
        tokenizer = self._tokenizer(name)
        return Distillation(self.work / "distill", self.weights, tokenizer, plan, sources).run(name, kind)

    def cards(self) -> None:
        """Write the cards of every model whose figures are in the work folder."""
        for name, policy in POLICIES.items():
            path = self.work / f"demo-{name}.quality.json"
            if path.exists():
                found = self._policy_description(name) | {"quality": read_json(path.read_text("utf-8"), lenient=True)}
                self._write_card(f"demo-{name}", "policy", policy.task, found)
        for reward, task in {policy.reward: policy.task for policy in POLICIES.values()}.items():
            path = self.work / f"{reward}.quality.json"
            if path.exists():
                self._write_card(reward, "process reward model", task, read_json(path.read_text("utf-8"), lenient=True))

    def _policy_description(self, name: str) -> dict[str, Any]:
        model, progress = self._policy(name)
        start = POLICIES[name].start
        started = {} if start is None else {"started_as": f"demo-{start}"}
        return {"shape": asdict(model.shape), "training": started | training_figures(model, progress)}

    def _write_card(self, name: str, role: str, task: Task, found: dict[str, Any]) -> None:
        card = make_card(name, role, task.name, found)
        card["files"] = files_of(name, self.weights)
        write_card(card, self.weights, self.models / "cards")

    def _write(self, model: Decoder, name: str, policy: str, reward: bool) -> None:
        self.weights.mkdir(parents=True, exist_ok=True)
        types = POLICIES[policy].quantizations
        source = self.weights / f"{name}.f16.gguf"
        export_gguf(model, self._tokenizer(policy), source, f"ramify-{name}", reward)
        for file_type in types:
            if file_type != "f16":
                quantize(source, self.weights / f"{name}.{file_type}.gguf", file_type)
        if "f16" not in types:
            source.unlink()
        log.info("wrote %s", ", ".join(files_of(name, self.weights)))

    def _policy(self, name: str) -> tuple[Decoder, Progress]:
        return load_policy(self.work, name, self._tokenizer(name).get_vocab_size())

    def _tokenizer(self, policy: str) -> Tokenizer:
        tokenizer = load_tokenizer(self.models / "tokenizer.json")
        return with_thoughts(tokenizer) if POLICIES[policy].thinks else tokenizer


def training_figures(model: Decoder, progress: Progress) -> dict[str, Any]:
    """Return the figures of a policy's training for its card."""
    return {
        "parameters": model.parameter_count(),
        "tokens": progress.real,
        "steps": progress.step,
        "problems": progress.problems,
        "last_loss": progress.loss,
        "seconds": progress.seconds,
        "optimizer": "Muon and AdamW",
    }


def _can_compile() -> bool:
    return shutil.which("g++") is not None
