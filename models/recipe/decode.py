"""Batched decoding in torch, for the accuracy of a policy while it trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from ramify.problem import Problem

from .network import Cache, Decoder
from .text import END, prompt_text
from .tokenizer import token_id

LONGEST, LONGEST_WITH_THOUGHT = 260, 720
"""Tokens of a completion at most, without and with a thought before the reply."""


@torch.no_grad()
def complete(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    temperature: float = 0.0,
    longest: int = LONGEST,
    seed: int = 0,
) -> list[str]:
    """Return the completion of each prompt, greedy at temperature 0, without the end token."""
    generator = torch.Generator().manual_seed(seed)
    end = token_id(tokenizer, END)
    rows = [e.ids for e in tokenizer.encode_batch(list(prompts))]
    width = max(len(r) for r in rows)
    padding = torch.tensor([width - len(r) for r in rows])
    tokens = torch.tensor([[end] * (width - len(r)) + r for r in rows])
    cache, written = Cache(padding), list[torch.Tensor]()
    done = torch.zeros(len(rows), dtype=torch.bool)
    for _ in range(longest):
        logits = model.continue_from(tokens, cache).float()
        if temperature > 0:
            chances = torch.softmax(logits / temperature, -1)
            tokens = torch.multinomial(chances, 1, generator=generator)
        else:
            tokens = logits.argmax(-1, keepdim=True)
        tokens[done] = end
        written.append(tokens)
        done |= tokens[:, 0] == end
        if bool(done.all()):
            break
    ids = torch.cat(written, 1).tolist()
    return tokenizer.decode_batch([row[: row.index(end)] if end in row else row for row in ids])


def longest_completion(thinks: bool) -> int:
    """Return the length at which completions of a policy are cut."""
    return LONGEST_WITH_THOUGHT if thinks else LONGEST


def right(problem: Problem, text: str) -> bool:
    """Return whether a completion ends in the gold answer."""
    return text.endswith(f"The answer is {problem.answer}.")


def greedy_accuracy(
    model: Decoder, tokenizer: Tokenizer, problems: Sequence[Problem], thinks: bool = False
) -> dict[int, tuple[int, int]]:
    """Return (right, asked) by number of steps."""
    texts = list[str]()
    ordered = sorted(problems, key=lambda p: len(p.question))
    for start in range(0, len(ordered), 100):
        prompts = [prompt_text(p.question, thinks) for p in ordered[start : start + 100]]
        texts += complete(model, tokenizer, prompts, longest=longest_completion(thinks))
    tally = dict[int, tuple[int, int]]()
    for problem, text in zip(ordered, texts, strict=True):
        steps = int(problem.metadata["steps"])
        good, asked = tally.get(steps, (0, 0))
        tally[steps] = (good + right(problem, text), asked + 1)
    return dict(sorted(tally.items()))
