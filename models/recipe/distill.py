"""Distillation: searches become training data, a policy learns from them, and is measured before and after.

Searches, export and measurements are the commands of ramify, so each of them goes on where it was stopped; training
goes on from its checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from ramify.files import replacing, write_text
from ramify.json_text import json_lines, read_json
from ramify.problem import Problem
from ramify.statistics import paired_difference, wilson

from ..tasks.tasks import ARITHMETIC, label_stream
from .data import IGNORED, Batch, Row, batches, solution_rows
from .export import export_gguf, import_gguf, quantize
from .network import Decoder
from .optimizer import Optimizer
from .policies import POLICIES

log = logging.getLogger(__name__)

TRAIN_SEED = 20_261_129
"""Seed of the training problems that are searched; they are of the training part, in a stream of their own."""
EVALUATION_SEED = 731_329
"""Seed of the problems of the measurement, of the evaluation part; nothing else uses it."""
STEPS = (2, 8)
MEASURED = {"greedy": ("--strategy", "greedy"), "majority": ("--strategy", "majority", "--width", "16")}
"""Searches by which a policy is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillPlan:
    """Size of a distillation.

    `problems` are searched by `teacher` with its default reward and `width` paths; up to `per_problem` right solutions
    of each are learned, `epochs` times over, at `rate` of the full learning rates. `measured` problems tell the
    accuracy before and after.
    """

    teacher: str = "demo-m"
    problems: int = 600
    width: int = 16
    per_problem: int = 4
    epochs: int = 3
    rate: float = 0.1
    batch_tokens: int = 8192
    measured: int = 500
    warm_up: int = 10


@dataclass(slots=True)
class TuningProgress:
    """Position of a training: batch `batch` of epoch `epoch` comes next; `tokens` were seen, padding left out."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    loss: float = 0.0
    losses: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, slots=True)
class Distillation:
    """One distillation in the folder `work`; the policies start with the files in `weights`.

    `sources` are run folders to learn from, none to search first.
    """

    work: Path
    weights: Path
    tokenizer: Tokenizer
    plan: DistillPlan = DistillPlan()
    sources: tuple[Path, ...] = ()

    def run(self, name: str, kind: torch.dtype) -> dict[str, Any]:
        """Do all stages for a policy, or the rest of them, and return the report."""
        self.work.mkdir(parents=True, exist_ok=True)
        sources = self.sources or (self.search(),)
        data = self.export(sources)
        progress = self.tune(name, data, kind)
        before, after = self.weights / f"demo-{name}.f16.gguf", self.tuned_file(name)
        found = self.compare(name, before, after) | self.costs(name, sources, progress)
        path = self.work / f"demo-{name}.report.json"
        write_text(path, json.dumps(found, indent=2) + "\n", private=False)
        log.info("demo-%s: %s", name, summary(found))
        return found

    def search(self) -> Path:
        """Search the training problems, or go on, and return the run folder."""
        problems = label_stream(range(self.plan.problems), ARITHMETIC, TRAIN_SEED)
        options = ("--model", self.plan.teacher, "--strategy", "rebase", "--width", str(self.plan.width))
        return self._batch("search", problems, options)

    def export(self, sources: Sequence[Path]) -> Path:
        """Write the right solutions of the searches as a data set, and return its file."""
        out = self.work / "data"
        _ramify(
            "export", "sft", *map(str, sources), "--out", str(out), "--form", "text", "--filter", "right",
            "--per-problem", str(self.plan.per_problem),
        )  # fmt: skip
        return out / "data.jsonl"

    def tune(self, name: str, data: Path, kind: torch.dtype) -> TuningProgress:
        """Train a policy on a data set, from the checkpoint if there is one, and write its GGUF files."""
        policy = POLICIES[name]
        model = Decoder(policy.shape, self.tokenizer.get_vocab_size(), policy.context)
        import_gguf(model, self.weights / f"demo-{name}.f16.gguf")
        tuner = Tuner(model, self.work / f"demo-{name}.pt", self.plan, kind)
        progress = tuner.run(read_rows(data, self.tokenizer))
        target = self.tuned_file(name)
        export_gguf(model, self.tokenizer, target, f"ramify-demo-{name}-distilled")
        quantize(target, target.with_name(f"demo-{name}-distilled.q8_0.gguf"), "q8_0")
        return progress

    def tuned_file(self, name: str) -> Path:
        """Return the file of the policy that has learned."""
        return self.work / f"demo-{name}-distilled.f16.gguf"

    def compare(self, name: str, before: Path, after: Path) -> dict[str, Any]:
        """Measure both files on the same fresh problems, and return accuracies and paired differences."""
        problems = ARITHMETIC.problems(STEPS, self.plan.measured, EVALUATION_SEED)
        found: dict[str, Any] = {"problems": len(problems), "seed": EVALUATION_SEED}
        for measure, options in MEASURED.items():
            runs = {
                when: self._batch(f"{name}-{when}-{measure}", problems, ("--model", str(file), *options))
                for when, file in (("before", before), ("after", after))
            }
            rows = {when: _outcomes(folder) for when, folder in runs.items()}
            found[measure] = {when: _accuracy(list(outcomes.values())) for when, outcomes in rows.items()}
            pairs = [(rows["after"][key], rows["before"][key]) for key in sorted(rows["before"])]
            gain = paired_difference([after for after, _ in pairs], [before for _, before in pairs])
            found[measure]["gain"] = gain.to_dict()
            found[measure]["flops"] = {when: _flops(folder) for when, folder in runs.items()}
        return found

    def costs(self, name: str, sources: Sequence[Path], progress: TuningProgress) -> dict[str, Any]:
        """Return the FLOPs of searching and of training, where each token costs 6 x parameters."""
        policy = POLICIES[name]
        parameters = Decoder(policy.shape, self.tokenizer.get_vocab_size(), policy.context).parameter_count()
        searches = sum(_flops(folder) for folder in sources)
        training = 6.0 * parameters * progress.tokens
        return {
            "plan": asdict(self.plan),
            "training": {"tokens": progress.tokens, "steps": progress.step, "loss_by_epoch": progress.losses},
            "total_flops": {"searches": searches, "training": training, "sum": searches + training},
        }

    def _batch(self, name: str, problems: Sequence[Problem], options: Sequence[str]) -> Path:
        """Search problems into a folder of this name, or go on, and return it."""
        source, out = self.work / f"{name}.jsonl", self.work / name
        lines = (json.dumps({"id": p.id, "question": p.question, "answer": p.answer}) for p in problems)
        text = "".join(f"{line}\n" for line in lines)
        if not source.is_file() or source.read_text("utf-8") != text:
            write_text(source, text, private=False)
        began = time.monotonic()
        _ramify("batch", "run", str(source), "--out", str(out), "--quiet", *options)
        log.info("%s: %.0f s", name, time.monotonic() - began)
        return out


class Tuner:
    """Training of a policy that knows its task, on rows in memory; `path` is its checkpoint."""

    def __init__(self, model: Decoder, path: Path, plan: DistillPlan, kind: torch.dtype) -> None:
        self._model, self._path, self._plan, self._kind = model, path, plan, kind
        self._optimizer = Optimizer(model, kind)
        self._progress = TuningProgress()

    def run(self, rows: list[Row]) -> TuningProgress:
        """Train to the end of the plan, and return where it ended."""
        self._restore()
        at, steps = self._progress, self._plan.epochs * len(list(batches(rows, self._plan.batch_tokens, 0)))
        while at.epoch < self._plan.epochs:
            losses = [self._learn(batch, steps) for batch in self._left(rows)]
            at.losses.append(sum(losses) / max(1, len(losses)))
            at.epoch, at.batch = at.epoch + 1, 0
            self._save()
            log.info("epoch %d: loss %.4f, %d tokens", at.epoch, at.losses[-1], at.tokens)
        return at

    def _left(self, rows: list[Row]) -> Iterator[Batch]:
        """Yield the batches of this epoch, whose order its number decides."""
        yield from batches(rows, self._plan.batch_tokens, self._progress.epoch)

    def _learn(self, batch: Batch, steps: int) -> float:
        at = self._progress
        inputs, places = torch.from_numpy(batch.inputs), torch.from_numpy(batch.places)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._kind == torch.bfloat16):
            logits = self._model.head(self._model(inputs).flatten(0, 1)[places])
        loss = F.cross_entropy(logits.float(), torch.from_numpy(batch.targets), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        rise = min(1.0, (at.step + 1) / self._plan.warm_up)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, at.step / max(1, steps))))
        self._optimizer.step(self._plan.rate * rise * max(0.02, fall))
        at.step, at.batch = at.step + 1, at.batch + 1
        at.tokens += int((batch.inputs != 0).sum())
        return loss.item()

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(), "optimizer": self._optimizer.state(), "progress": asdict(self._progress)
        }  # fmt: skip
        with replacing(self._path, private=False) as part:
            torch.save(state, part)

    def _restore(self) -> None:
        if not self._path.exists():
            return
        state = torch.load(self._path, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimizer.restore(state["optimizer"])
        self._progress = TuningProgress(**state["progress"])


def read_rows(data: Path, tokenizer: Tokenizer) -> list[Row]:
    """Return the training rows of a data set of prompts and completions."""
    pairs = [read_json(line) for _, line in json_lines(data.read_text("utf-8"))]
    return solution_rows([(pair["prompt"], pair["completion"]) for pair in pairs], tokenizer)


def summary(found: dict[str, Any]) -> str:
    """Return the outcome in one line."""
    parts = list[str]()
    for measure in MEASURED:
        each = found[measure]
        gain = each["gain"]
        parts.append(
            f"{measure} {each['before']['accuracy']:.3f} -> {each['after']['accuracy']:.3f} "
            f"({gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}])"
        )
    return ", ".join([*parts, f"{found['total_flops']['sum']:.3g} FLOPs"])


def _ramify(*arguments: str) -> None:
    """Run a command of ramify.

    Raises:
        RuntimeError: if it fails; what it wrote says why.
    """
    done = subprocess.run([sys.executable, "-m", "ramify", *arguments], check=False)
    if done.returncode:
        raise RuntimeError(f"`ramify {' '.join(arguments[:2])}` ended with {done.returncode}; the same command goes on")


def _items(folder: Path) -> list[dict[str, Any]]:
    return [read_json(line) for _, line in json_lines((folder / "items.jsonl").read_text("utf-8"))]


def _outcomes(folder: Path) -> dict[str, float]:
    return {row["id"]: float(bool(row["correct"])) for row in _items(folder)}


def _accuracy(outcomes: Sequence[float]) -> dict[str, float]:
    right = round(sum(outcomes))
    low, high = wilson(right, len(outcomes))
    return {"accuracy": right / len(outcomes), "low": low, "high": high}


def _flops(folder: Path) -> float:
    report = read_json((folder / "report.json").read_text("utf-8"))
    return float(report["usage"]["flops"])
