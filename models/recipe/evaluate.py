"""Measures of trained policies: greedy accuracy by number of steps, and pass@k."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenizers import Tokenizer

from ramify.files import write_text

from ..tasks.tasks import Task
from .decode import complete, greedy_accuracy, longest_completion, right
from .network import Decoder
from .text import prompt_text

EVALUATION_SEED = 20_260
STEPS = (2, 8)


@dataclass(frozen=True, slots=True)
class PolicyQuality:
    """Shares of problems answered right. `pass_at_k` counts a problem if any of `k` samples is right."""

    problems: int
    greedy: float
    greedy_by_steps: dict[int, float]
    sampled_problems: int
    sampled: float
    k: int
    pass_at_k: float
    majority_at_k: float
    temperature: float
    seconds: float


def evaluate_policy(
    model: Decoder,
    tokenizer: Tokenizer,
    task: Task,
    problems: int = 700,
    sampled: int = 60,
    k: int = 64,
    thinks: bool = False,
) -> PolicyQuality:
    """Return the quality of `model` on fresh evaluation problems of `task` of 2 to 8 steps."""
    began = time.monotonic()
    asked = task.problems(STEPS, problems, EVALUATION_SEED)
    tally = greedy_accuracy(model, tokenizer, asked, thinks)
    correct = any_right = majority_right = 0
    for i, problem in enumerate(asked[:sampled]):
        prompts = [prompt_text(problem.question, thinks)] * k
        texts = complete(model, tokenizer, prompts, 1.0, longest_completion(thinks), seed=i)
        hits = sum(right(problem, t) for t in texts)
        correct, any_right = correct + hits, any_right + (hits > 0)
        answers = [t.rsplit("The answer is ", 1)[-1] for t in texts if "The answer is " in t]
        most = max(sorted(set(answers)), key=answers.count, default="")
        majority_right += most == f"{problem.answer}."
    return PolicyQuality(
        problems=problems,
        greedy=sum(g for g, _ in tally.values()) / problems,
        greedy_by_steps={s: g / n for s, (g, n) in tally.items()},
        sampled_problems=sampled,
        sampled=correct / (sampled * k),
        k=k,
        pass_at_k=any_right / sampled,
        majority_at_k=majority_right / sampled,
        temperature=1.0,
        seconds=time.monotonic() - began,
    )


def save_quality(quality: PolicyQuality, path: Path) -> None:
    """Write a quality as JSON."""
    write_text(path, json.dumps(asdict(quality), indent=2) + "\n", private=False)
