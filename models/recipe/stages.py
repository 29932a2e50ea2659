"""The stages of the recipe, from the tokenizer to the cards. Every stage can be repeated."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import torch
from tokenizers import Tokenizer

from ramify.engine.rewards.label_files import label_problems
from ramify.engine.rewards.labels import LabelPlan

from .cards import files_of, policy_card, reward_card, write_card
from .device import prepare
from .evaluate import evaluate_policy, save_quality
from .export import export_gguf, quantize
from .label import label_stream
from .network import Decoder
from .reward import RewardPlan, read_labels, train_reward
from .tokenizer import load_tokenizer, train_tokenizer
from .train import Progress, Schedule, Trainer, load_policy

log = logging.getLogger(__name__)

TOKENS: dict[str, int] = {"s": 35_000_000, "m": 30_000_000, "l": 63_000_000}
"""Padded positions that each policy trains on.

The bundled small and large policies were stopped and extended on the way, so their schedules differ from a fresh run's;
their weights cannot be reproduced bit for bit.
"""

RATES: dict[str, float] = {"s": 1.0, "m": 1.0, "l": 0.6}
"""Share of the optimizers' full learning rates that each policy peaks at."""

QUANTIZATIONS: dict[str, tuple[str, ...]] = {
    "s": ("f16", "q8_0"),
    "m": ("f16", "q8_0"),
    "l": ("f16", "q8_0", "q4_k_m"),
}

LABELLER = "m"
"""The policy whose chances the reward model learns."""

LABELLINGS = (
    (range(1050), LabelPlan(solutions=4, rollouts=4)),
    (range(359), LabelPlan(solutions=32)),
    (range(1050, 2436), LabelPlan(solutions=8)),
)
"""Which problems are labelled and how: forked rollouts say most of a prefix, whole samples cover most problems."""

SIZES = ("m", "s", "l")
"""Policies in the order of training: the one that the reward model needs comes first."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where things are: `work` keeps checkpoints, data and measurements; `models` is the package folder."""

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
            train_tokenizer().save(str(path))
        log.info("tokenizer: %d tokens", self._tokenizer().get_vocab_size())

    def train(self, size: str, tokens: int | None = None) -> None:
        """Train the policy of `size`, or continue to."""
        kind = prepare(self.threads)
        self.work.mkdir(parents=True, exist_ok=True)
        schedule = Schedule(tokens or TOKENS[size], rate=RATES[size])
        Trainer(size, schedule, self.work, self._tokenizer(), kind, compiled=_can_compile()).run()

    def export(self, size: str) -> None:
        """Write the GGUF files of the policy of `size`."""
        model, _ = self._policy(size)
        self._write(model, f"demo-{size}", QUANTIZATIONS[size], reward=False)

    def evaluate(self, size: str) -> None:
        """Measure the policy of `size` and keep the figures in the work folder."""
        prepare(self.threads)
        model, _ = self._policy(size)
        quality = evaluate_policy(model, self._tokenizer())
        log.info("demo-%s: %s", size, quality)
        save_quality(quality, self.work / f"demo-{size}.quality.json")

    def label(self) -> None:
        """Label solutions by the exported medium policy, or continue to."""
        source = self.weights / f"demo-{LABELLER}.f16.gguf"
        for path, (problems, plan) in zip(self.label_files, LABELLINGS, strict=True):
            anyio.run(label_problems, source, label_stream(problems), path, plan)

    @property
    def label_files(self) -> list[Path]:
        """One label file for each labelling."""
        return [self.work / f"labels-{number}.jsonl" for number in range(len(LABELLINGS))]

    def reward(self, labels: Sequence[Path], size: str = "m", plan: RewardPlan | None = None) -> None:
        """Train the reward model from `labels`, starting as the policy of `size`, and write its GGUF files."""
        kind = prepare(self.threads)
        model, _ = self._policy(size)
        data, plan = [row for path in labels for row in read_labels(path)], plan or RewardPlan()
        quality = train_reward(model, self._tokenizer(), data, plan, kind)
        torch.save({"model": model.state_dict(), "size": size}, self.work / "demo-prm.pt")
        self._write(model, "demo-prm", ("f16", "q8_0"), reward=True)
        training = {
            "parameters": model.parameter_count(),
            "started_as": f"demo-{size}",
            "solutions": len(data),
            "steps": sum(len(d.steps) for d in data),
            "epochs": plan.epochs,
        }
        found = {"training": training, "quality": asdict(quality), "shape": asdict(model.shape)}
        (self.work / "demo-prm.quality.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")

    def cards(self) -> None:
        """Write the cards of every model whose figures are in the work folder."""
        for size in SIZES:
            path = self.work / f"demo-{size}.quality.json"
            if path.exists():
                self._write_card(f"demo-{size}", self._policy_description(size), json.loads(path.read_text("utf-8")))
        path = self.work / "demo-prm.quality.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
            self._write_card("demo-prm", found, found["quality"])

    def _policy_description(self, size: str) -> dict[str, Any]:
        model, progress = self._policy(size)
        return {"shape": asdict(model.shape), "training": training_figures(model, progress)}

    def _write_card(self, name: str, found: dict[str, Any], quality: dict[str, Any]) -> None:
        make: Callable[..., dict[str, Any]] = reward_card if name == "demo-prm" else policy_card
        card = make(name, found["shape"], found["training"], quality)
        card["files"] = files_of(name, self.weights)
        write_card(card, self.weights, self.models / "cards")

    def _write(self, model: Decoder, name: str, types: tuple[str, ...], reward: bool) -> None:
        source = self.weights / f"{name}.f16.gguf"
        export_gguf(model, self._tokenizer(), source, f"ramify-{name}", reward)
        for file_type in types:
            if file_type != "f16":
                quantize(source, self.weights / f"{name}.{file_type}.gguf", file_type)
        log.info("wrote %s", ", ".join(files_of(name, self.weights)))

    def _policy(self, size: str) -> tuple[Decoder, Progress]:
        return load_policy(self.work, size, self._tokenizer().get_vocab_size())

    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.models / "tokenizer.json")


def training_figures(model: Decoder, progress: Progress) -> dict[str, Any]:
    """Return what a card says about a policy's training."""
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
