"""Training of the process reward model from step values that rollouts estimated."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, model_validator
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from ramify.json_text import read_json
from ramify.statistics import auc, auc_within
from ramify.training.quality import score_calibration

from .network import Decoder
from .optimizer import Optimizer
from .text import BAD, GOOD, STEP, prompt_text, reward_solution_text
from .tokenizer import token_id

log = logging.getLogger(__name__)


class Label(BaseModel):
    """One line of a label file: `values[i]` is the chance that a solution that starts with `steps[:i + 1]` is right.

    Steps carry the newline that ends them, or none; it is added where it is missing. `count` is how often the solution
    was sampled.
    """

    question: str
    steps: list[str]
    values: list[float]
    count: int = 1

    @model_validator(mode="after")
    def _one_value_each(self) -> Label:
        if not self.steps or len(self.steps) != len(self.values):
            raise ValueError(f"got {len(self.steps)} steps and {len(self.values)} values")
        if not all(0.0 <= v <= 1.0 for v in self.values):
            raise ValueError("values must lie between 0 and 1")
        return self

    def lines(self) -> list[str]:
        """Return the steps as they stand in a solution: all but the last end in a newline."""
        plain = [s.rstrip("\n") for s in self.steps]
        finished = plain[-1].startswith("The answer is")
        return [f"{s}\n" for s in plain[:-1]] + [plain[-1] if finished else f"{plain[-1]}\n"]


@dataclass(frozen=True, slots=True)
class RewardRow:
    """An encoded label: `values[k]` belongs to the tag at position `places[k]`, and counts `count` times."""

    question: str
    tokens: list[int]
    places: list[int]
    values: list[float]
    count: int


@dataclass(frozen=True, slots=True)
class RewardPlan:
    """Plan of a training. Rates are those of `Optimizer`, times `rate`."""

    epochs: int = 2
    batch_tokens: int = 8192
    rate: float = 0.3
    held_out: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RewardQuality:
    """Quality of scores as forecasts of held-out values: cross-entropy, its floor (the entropy of the values), and AUC.

    AUC over all steps is high as soon as hard problems are told from easy ones. What guides a search is
    `auc_within`: over pairs of solutions of one problem, one right and one wrong, how often the right one's last step
    scores higher (0.5 is chance; 0.5 too if there is no such pair).

    `calibration_error` is the expected calibration error over ten equal bins of the score (Guo et al.,
    arXiv 1706.04599, eq. 3); `reliability` holds each bin's mean score, mean value and number of steps.
    """

    loss: float
    floor: float
    auc: float
    auc_within: float
    steps: int
    calibration_error: float
    reliability: dict[str, tuple[float, float, int]]


def read_labels(path: Path) -> list[Label]:
    """Return the labels of a JSONL file.

    Raises:
        ValueError: for a line that is no label, with its number.
    """
    labels = list[Label]()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                labels.append(Label.model_validate(read_json(line)))
            except ValueError as error:
                raise ValueError(f"{path.name}, line {number}: {error}") from error
    return labels


def encode(labels: list[Label], tokenizer: Tokenizer) -> list[RewardRow]:
    """Return the labels as token rows."""
    tag = token_id(tokenizer, STEP)
    texts = [prompt_text(label.question) + reward_solution_text(label.lines()) for label in labels]
    rows = list[RewardRow]()
    for label, encoded in zip(labels, tokenizer.encode_batch(texts), strict=True):
        places = [i for i, token in enumerate(encoded.ids) if token == tag]
        rows.append(RewardRow(label.question, encoded.ids, places, label.values, label.count))
    return rows


def split_by_question(labels: list[Label], held_out: float, seed: int) -> tuple[list[Label], list[Label]]:
    """Return training and held-out labels, which share no question."""
    questions = sorted({label.question for label in labels})
    random.Random(seed).shuffle(questions)
    kept = set(questions[: max(1, int(len(questions) * held_out))])
    return [x for x in labels if x.question not in kept], [x for x in labels if x.question in kept]


def train_reward(
    model: Decoder, tokenizer: Tokenizer, labels: list[Label], plan: RewardPlan, kind: torch.dtype
) -> RewardQuality:
    """Train `model`, which starts as a policy, in place, and return its quality on held-out questions.

    The weights of the epoch with the lowest held-out loss are kept.
    """
    training, held_out = split_by_question(labels, plan.held_out, plan.seed)
    rows, test_rows = encode(training, tokenizer), encode(held_out, tokenizer)
    good, bad = token_id(tokenizer, GOOD), token_id(tokenizer, BAD)
    optimizer = Optimizer(model, kind)
    per_epoch = len(list(_groups(rows, plan.batch_tokens, 0)))
    total, step = max(1, per_epoch * plan.epochs), 0
    best: tuple[RewardQuality, dict[str, Tensor]] | None = None
    for epoch in range(plan.epochs):
        for group in _groups(rows, plan.batch_tokens, plan.seed + epoch):
            with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
                logits, values = _at_tags(model, model, group, (good, bad))
            loss = _loss(logits.float(), values, _counts(group))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step(plan.rate * min(1.0, (step + 1) / 50) * (1.0 - step / total))
            step += 1
            if step % 50 == 0:
                log.info("reward step %d of %d loss %.4f", step, total, loss.item())
        quality = measure(model, test_rows, (good, bad))
        log.info("reward epoch %d: %s", epoch + 1, quality)
        if best is None or quality.loss < best[0].loss:
            best = quality, {name: value.clone() for name, value in model.state_dict().items()}
    if best is None:
        return measure(model, test_rows, (good, bad))
    model.load_state_dict(best[1])
    return best[0]


@torch.no_grad()
def measure(model: Decoder, rows: list[RewardRow], ids: tuple[int, int]) -> RewardQuality:
    """Return how well the scores of `model` predict the values of `rows`; `ids` are those of good and bad."""
    scores, values, counts = list[Tensor](), list[Tensor](), list[Tensor]()
    last: dict[str, list[tuple[float, float]]] = {}
    for group in _groups(rows, 8192, 0):
        logits, value = _at_tags(model, model, group, ids)
        scores.append(logits.float())
        values.append(value)
        counts.append(_counts(group))
        ends = torch.tensor([len(row.places) for row in group]).cumsum(0) - 1
        margins = (scores[-1][:, 0] - scores[-1][:, 1])[ends].tolist()
        for row, margin in zip(group, margins, strict=True):
            last.setdefault(row.question, []).extend([(margin, row.values[-1])] * row.count)
    often = torch.cat(counts)
    all_scores, all_values = torch.cat(scores).repeat_interleave(often, 0), torch.cat(values).repeat_interleave(often)
    floor = torch.special.entr(all_values) + torch.special.entr(1 - all_values)
    margin = all_scores[:, 0] - all_scores[:, 1]
    within = auc_within(([m for m, v in ends if v >= 0.5], [m for m, v in ends if v < 0.5]) for ends in last.values())
    sides = margin[all_values >= 0.5].tolist(), margin[all_values < 0.5].tolist()
    found = auc(*sides)
    fit = score_calibration(margin.sigmoid().tolist(), all_values.tolist())
    assert fit is not None
    return RewardQuality(
        loss=_loss(all_scores, all_values).item(),
        floor=floor.mean().item(),
        auc=math.nan if found is None else found,
        auc_within=0.5 if within is None else within,
        steps=len(all_values),
        calibration_error=fit.error,
        reliability={f"{each.low:.1f} to {each.high:.1f}": (each.score, each.value, each.count) for each in fit.bins},
    )


def _at_tags(
    model: Decoder, states: Callable[[Tensor], Tensor], rows: list[RewardRow], ids: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    width = max(len(r.tokens) for r in rows)
    inputs = torch.tensor([r.tokens + [0] * (width - len(r.tokens)) for r in rows])
    where = torch.tensor([i for i, r in enumerate(rows) for _ in r.places])
    places = torch.tensor([p for r in rows for p in r.places])
    head = model.head.weight[list(ids)]
    return F.linear(states(inputs)[where, places], head), torch.tensor([v for r in rows for v in r.values])


def _counts(rows: list[RewardRow]) -> Tensor:
    return torch.tensor([row.count for row in rows for _ in row.places])


def _loss(logits: Tensor, values: Tensor, counts: Tensor | None = None) -> Tensor:
    weight = None if counts is None else counts / counts.float().mean()
    return F.binary_cross_entropy_with_logits(logits[:, 0] - logits[:, 1], values, weight)


def _groups(rows: list[RewardRow], batch_tokens: int, seed: int) -> Iterator[list[RewardRow]]:
    rng = random.Random(seed)
    groups: list[list[RewardRow]] = [[]]
    for row in sorted(rng.sample(rows, len(rows)), key=lambda r: len(r.tokens)):
        if groups[-1] and (len(groups[-1]) + 1) * len(row.tokens) > batch_tokens:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    yield from groups
