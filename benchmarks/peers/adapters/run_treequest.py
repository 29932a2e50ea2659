"""treequest: AB-MCTS-A over whole answers, scored by the endpoint's reward.

`ab-mcts-a` revises an answer as its documentation does, by a prompt that shows it. `ab-mcts-a-rewrite` keeps the first
half of its steps and writes the rest again, for models that were never taught to revise.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import treequest
from common import Settings, Solve, run

REVISE = "Check this solution, and write a better one if it has a mistake. End with: The answer is"


def prepare(settings: Settings) -> Solve:
    """Return the solver of one problem."""

    def complete(messages: list[dict[str, str]], kept: str) -> str:
        body: dict[str, Any] = {"messages": messages, "max_tokens": settings.max_tokens}
        if kept:
            body["messages"] = [*messages, {"role": "assistant", "content": kept}]
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        reply = settings.post("/v1/chat/completions", {**body, "temperature": settings.temperature})
        return kept + reply["choices"][0]["message"]["content"]

    def write(question: str, above: str | None) -> str:
        asked = [{"role": "user", "content": question}]
        if above is None:
            return complete(asked, "")
        if settings.method == "ab-mcts-a-rewrite":
            steps = above.splitlines(keepends=True)
            return complete(asked, "".join(steps[: len(steps) // 2]))
        shown = [{"role": "assistant", "content": above}, {"role": "user", "content": REVISE}]
        return complete([*asked, *shown], "")

    def grown(question: str, above: str | None) -> tuple[str, float]:
        text = write(question, above)
        return text, min(1.0, max(0.0, settings.score(question, [text])[0])) if text.strip() else 0.0

    batch = max(1, settings.samples // 2)
    pool = ThreadPoolExecutor(batch)

    def solve(question: str) -> dict[str, Any]:
        search = treequest.ABMCTSA(dist_type="beta")
        state = search.init_tree()
        for start in range(0, settings.samples, batch):
            state, trials = search.ask_batch(state, min(batch, settings.samples - start), ["write"])
            jobs = [(trial, pool.submit(grown, question, trial.parent_state)) for trial in trials]
            for trial, job in jobs:
                state = search.tell(state, trial.trial_id, job.result())
        [(best, _)] = treequest.top_k(state, search, k=1)
        return {"text": best}

    return solve


if __name__ == "__main__":
    run(prepare)
