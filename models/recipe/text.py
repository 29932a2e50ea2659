"""Special tokens, and the sequence formats of policy and reward model."""

from __future__ import annotations

from collections.abc import Sequence

END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
STEP, GOOD, BAD = "<|step|>", "<|good|>", "<|bad|>"
SPECIAL_TOKENS: tuple[str, ...] = (END, USER, ASSISTANT, STEP, GOOD, BAD)

CONTEXT_LENGTH = 512

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def prompt_text(question: str) -> str:
    """Return the text up to where the solution starts, the same for policy and reward model."""
    return f"{USER}{question}{ASSISTANT}"


def policy_solution_text(solution: str) -> str:
    """Return what the policy learns to write after the prompt."""
    return f"{solution}{END}"


def reward_solution_text(steps: Sequence[str]) -> str:
    """Return solution steps as the reward model reads them: each ends in the tag, which stays in the context."""
    return "".join(f"{step}{STEP}" for step in steps)


def split_steps(solution: str) -> list[str]:
    """Return the steps of a solution, each with the newline that ends it; joined they are the solution."""
    return solution.splitlines(keepends=True)
