"""Functions of all adapters; standard library only, since each runs in its peer's own environment.

An adapter reads JSON lines: first the settings, then one problem a line, `{"question": ...}`. It writes `{"ready":
true}` when it is ready, then one line for each problem: `{"text": ...}` or `{"answer": ...}`, with `usage` if
the peer is not metered by the endpoint, or `{"error": ...}`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

Solve = Callable[[str], "dict[str, Any]"]

_STATED = re.compile(r"(?i)the answer is\s*(.+?)\.?\s*$")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True)
class Settings:
    """Settings of a peer for solving problems.

    `samples` is the number of whole answers that it may ask for, `budget_tokens` the limit of generated tokens a
    problem, for peers that take one, `max_tokens` that of one answer. `key` names the peer at the endpoint `url`.
    `model` and `reward` are for peers that load them themselves, with a context of `path_tokens` for each answer.
    `prompt_preset` is ramify's prompt preset, "" for the one that suits the model.
    """

    method: str
    url: str
    key: str
    samples: int
    budget_tokens: int
    max_tokens: int
    temperature: float
    seed: int
    threads: int
    model: str
    reward: str
    path_tokens: int
    prompt_preset: str

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the endpoint."""
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"},
        )
        try:
            with urllib.request.urlopen(request) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"the endpoint answers {error.code}: {error.read().decode()[:300]}") from None

    def score(self, question: str, texts: list[str]) -> list[float]:
        """Return the reward's score of each text."""
        return self.post("/score", {"prompt": question, "texts": texts})["scores"]


def answer_in(text: str) -> str | None:
    """Return the answer that peers vote on, None without one: the end of the text, as the bundled models write it.

    Else it is the last box.
    """
    stated = _STATED.search(text.strip())
    if stated is not None:
        return stated[1]
    boxes = _BOXED.findall(text)
    return boxes[-1] if boxes else None


def run(prepare: Callable[[Settings], Solve]) -> None:
    """Solve problems from standard input until it ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a peer prints must not come between the replies.
    os.dup2(2, 1)
    given = json.loads(sys.stdin.readline())
    settings = Settings(**{each.name: given[each.name] for each in fields(Settings)})
    solve = prepare(settings)
    _say(out, {"ready": True})
    for line in sys.stdin:
        try:
            reply = solve(json.loads(line)["question"])
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        _say(out, reply)


def _say(out: Any, data: dict[str, Any]) -> None:
    out.write(json.dumps(data) + "\n")
    out.flush()
