"""The high-level `Llama` class of llama-cpp-python in a loop, with a majority vote."""

from __future__ import annotations

from collections import Counter
from typing import Any

import llama_cpp
from common import Settings, Solve, answer_in, run


def prepare(settings: Settings) -> Solve:
    """Load the model; a problem is one chat completion after another."""
    model = llama_cpp.Llama(
        settings.model,
        n_ctx=settings.path_tokens,
        n_threads=settings.threads,
        n_threads_batch=settings.threads,
        seed=settings.seed,
        verbose=False,
    )

    def evaluated() -> int:
        return llama_cpp.llama_perf_context(model.ctx).n_p_eval

    def solve(question: str) -> dict[str, Any]:
        texts: list[str] = []
        generated, before = 0, evaluated()
        for _ in range(settings.samples):
            reply: Any = model.create_chat_completion(
                [{"role": "user", "content": question}],
                max_tokens=settings.max_tokens,
                temperature=settings.temperature,
                top_k=0,
                top_p=1.0,
                min_p=0.0,
                repeat_penalty=1.0,
            )
            texts.append(reply["choices"][0]["message"]["content"])
            generated += reply["usage"]["completion_tokens"]
        found = [answer for answer in map(answer_in, texts) if answer is not None]
        answer = Counter(found).most_common(1)[0][0] if found else None
        usage = {"generated_tokens": generated, "prompt_tokens": evaluated() - before, "reward_tokens": 0}
        return {"answer": answer, "usage": usage}

    return solve


if __name__ == "__main__":
    run(prepare)
