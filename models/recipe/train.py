"""Training of the policies from scratch, resumable at any moment."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from ramify.files import replacing

from .data import IGNORED, SHARD_SIZE, Batch, batches, load_shard
from .decode import greedy_accuracy
from .export import import_gguf
from .network import Decoder
from .optimizer import Optimizer
from .policies import POLICIES

log = logging.getLogger(__name__)

WATCH_SEED = 424_242
"""Seed of the problems whose accuracy is logged during training."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and learning rate of a training; `tokens` and `batch_tokens` count positions, padding included.

    `rate` is the peak of the learning-rate factor.
    """

    tokens: int
    rate: float = 1.0
    batch_tokens: int = 8192
    warm_up: int = 100
    decay_from: float = 0.6
    watch_every: int = 3_000_000
    save_every_s: float = 120.0

    def factor(self, step: int, seen: int) -> float:
        """Return the learning-rate factor: linear warm-up, constant, then linear to a fiftieth."""
        rise = min(1.0, (step + 1) / self.warm_up)
        left = max(0.0, 1.0 - seen / self.tokens) / (1.0 - self.decay_from)
        return self.rate * min(rise, max(0.02, min(1.0, left)))


@dataclass(slots=True)
class Progress:
    """Position of a run: batch `batch` of shard `shard` comes next."""

    shard: int = 0
    batch: int = 0
    step: int = 0
    seen: int = 0
    real: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    watched: int = 0

    @property
    def problems(self) -> int:
        """Problems of all finished shards."""
        return self.shard * SHARD_SIZE


class Trainer:
    """One run of a policy of `POLICIES`. `folder` keeps its checkpoint, and the shards that runs share in `data`.

    `start` is a GGUF file whose weights it starts with, None for random ones.
    """

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        folder: Path,
        tokenizer: Tokenizer,
        kind: torch.dtype,
        compiled: bool = True,
        start: Path | None = None,
    ) -> None:
        self.name, self.schedule, self.folder, self.tokenizer, self.kind = name, schedule, folder, tokenizer, kind
        self.policy = POLICIES[name]
        self.model = Decoder(self.policy.shape, tokenizer.get_vocab_size(), self.policy.context)
        if start is not None:
            import_gguf(self.model, start)
        self.progress = Progress()
        self._optimizer = Optimizer(self.model, kind)
        self._states: Callable[[Tensor], Tensor] = torch.compile(self.model, dynamic=True) if compiled else self.model
        self._watched = self.policy.task.problems((2, 8), 280, WATCH_SEED)
        self._saved_at = time.monotonic()

    def run(self) -> tuple[Decoder, Progress]:
        """Train to the end of the schedule, from the checkpoint if there is one, and return the model."""
        self._restore()
        at = self.progress
        began = time.monotonic() - at.seconds
        log.info("demo-%s: %d parameters, from token %d", self.name, self.model.parameter_count(), at.seen)
        for batch in self._upcoming():
            loss = self._learn(batch)
            at.loss += max(0.02, 1 / (at.step + 1)) * (loss - at.loss)
            at.step, at.batch = at.step + 1, at.batch + 1
            at.seen += batch.inputs.size
            at.real += int((batch.inputs != 0).sum())
            at.seconds = time.monotonic() - began
            self._keep_watch()
        self._watch()
        self._save()
        return self.model, at

    def _upcoming(self) -> Iterator[Batch]:
        at = self.progress
        while at.seen < self.schedule.tokens:
            steps = self.policy.steps_of_shard(at.shard)
            task, thinks = self.policy.task, self.policy.thinks
            rows = load_shard(self.folder / "data", at.shard, self.tokenizer, task, steps, thinks)
            for batch in islice(batches(rows, self.schedule.batch_tokens, at.shard), at.batch, None):
                if at.seen >= self.schedule.tokens:
                    return
                yield batch
            at.shard, at.batch = at.shard + 1, 0

    def _learn(self, batch: Batch) -> float:
        inputs, places = torch.from_numpy(batch.inputs), torch.from_numpy(batch.places)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.kind == torch.bfloat16):
            logits = self.model.head(self._states(inputs).flatten(0, 1)[places])
        loss = F.cross_entropy(logits.float(), torch.from_numpy(batch.targets), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step(self.schedule.factor(self.progress.step, self.progress.seen))
        return loss.item()

    def _keep_watch(self) -> None:
        at = self.progress
        if at.step % 50 == 0:
            rate = at.seen / max(at.seconds, 1e-9)
            log.info("demo-%s step %d tokens %d loss %.4f %.0f tokens/s", self.name, at.step, at.seen, at.loss, rate)
        if at.seen // self.schedule.watch_every > at.watched:
            at.watched = at.seen // self.schedule.watch_every
            self._watch()
        if time.monotonic() - self._saved_at > self.schedule.save_every_s:
            self._save()

    def _watch(self) -> None:
        tally = greedy_accuracy(self.model, self.tokenizer, self._watched, self.policy.thinks)
        total = sum(good for good, _ in tally.values()) / len(self._watched)
        by_steps = " ".join(f"{steps}:{good / asked:.2f}" for steps, (good, asked) in tally.items())
        log.info("demo-%s greedy accuracy %.3f by steps %s", self.name, total, by_steps)

    def _path(self) -> Path:
        return self.folder / f"demo-{self.name}.pt"

    def _save(self) -> None:
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state(),
            "progress": asdict(self.progress),
        }
        with replacing(self._path(), private=False) as part:
            torch.save(state, part)
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        if not self._path().exists():
            return
        state = torch.load(self._path(), weights_only=True)
        self.model.load_state_dict(state["model"])
        self._optimizer.restore(state["optimizer"])
        for name, value in state["progress"].items():
            setattr(self.progress, name, value)


def load_policy(folder: Path, name: str, vocabulary: int) -> tuple[Decoder, Progress]:
    """Return the policy of the checkpoint in `folder`; `name` is its key in `POLICIES`.

    Raises:
        FileNotFoundError: if that policy has no checkpoint yet.
    """
    state = torch.load(folder / f"demo-{name}.pt", weights_only=True)
    model = Decoder(POLICIES[name].shape, vocabulary, POLICIES[name].context)
    model.load_state_dict(state["model"])
    return model, Progress(**state["progress"])


_PROBE = """
import sys, time, torch

def seconds(kind):
    a, taken = torch.ones(256, 256, dtype=kind), []
    for _ in range(20):
        began = time.process_time()
        (a @ a).sum().item()
        taken.append(time.process_time() - began)
    return min(taken)

torch.set_num_threads(1)
sys.exit(seconds(torch.bfloat16) > seconds(torch.float32))
"""
"""Program that fails where products in bfloat16 fail, or take longer than in float32."""


def prepare(threads: int | None = None) -> torch.dtype:
    """Set the number of threads and return bfloat16 where its kernels work and are the faster ones, else float32.

    A child process tries: some virtual machines announce AMX but fault on it, and processors without instructions for
    bfloat16 imitate it, which takes several times as long as float32.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, check=False)
    return torch.bfloat16 if probe.returncode == 0 else torch.float32
