"""Special tokens, and the sequence formats of policy and reward model."""

from __future__ import annotations

from collections.abc import Sequence

END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
STEP, GOOD, BAD = "<|step|>", "<|good|>", "<|bad|>"
SPECIAL_TOKENS: tuple[str, ...] = (END, USER, ASSISTANT, STEP, GOOD, BAD)

THINK, REPLY = "<think>", "</think>"
THOUGHT_TOKENS: tuple[str, ...] = (THINK, REPLY)
"""Marks around the thought of a policy that thinks; they follow the shared vocabulary."""

CONTEXT_LENGTH = 512
THINKING_CONTEXT_LENGTH = 1024

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

NO_THOUGHT = f"{THINK}\n\n{REPLY}\n\n"
"""Follows the prompt of a policy that thinks where thoughts are switched off."""

THINKING_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'].split('</think>')[-1].lstrip('\\n') }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% else %}<think>\n"
    "{% endif %}{% endif %}"
)
"""Opens the thought itself, in the form of Qwen3's."""


def prompt_text(question: str, thinks: bool = False) -> str:
    """Return the text up to where the solution starts, the same for policy and reward model.

    `thinks` opens a thought.
    """
    return f"{USER}{question}{ASSISTANT}" + (f"{THINK}\n" if thinks else "")


def policy_solution_text(solution: str) -> str:
    """Return the text that the policy learns to write after the prompt."""
    return f"{solution}{END}"


def reward_solution_text(steps: Sequence[str]) -> str:
    """Return solution steps as the reward model reads them: each ends in the tag, which stays in the context."""
    return "".join(f"{step}{STEP}" for step in steps)


def split_steps(solution: str) -> list[str]:
    """Return the steps of a solution, each with the newline that ends it; joined they are the solution."""
    return solution.splitlines(keepends=True)
