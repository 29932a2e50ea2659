"""optillm: best-of-n, majority voting and self-consistency, called as its proxy calls them, without the proxy."""

from __future__ import annotations

import importlib
from typing import Any

from common import Settings, Solve, run
from openai import OpenAI
from optillm.bon import best_of_n_sampling
from optillm.self_consistency import AdvancedSelfConsistency


def prepare(settings: Settings) -> Solve:
    """Return the solver of one problem."""
    client = OpenAI(base_url=f"{settings.url}/v1", api_key=settings.key, max_retries=0)
    config = {"max_tokens": settings.max_tokens, "k": settings.samples, "temperature": settings.temperature}

    def best_of_n(question: str) -> str:
        return best_of_n_sampling("", question, client, "policy", settings.samples, config)[0]

    def majority(question: str) -> str:
        plugin = importlib.import_module("optillm.plugins.majority_voting_plugin")
        return plugin.run("", question, client, "policy", request_config=config)[0]

    def self_consistency(question: str) -> str:
        search = AdvancedSelfConsistency(client, "policy", num_samples=settings.samples, request_config=config)
        clusters = search.evaluate("", question)["aggregated_result"]["clusters"]
        return clusters[0]["answer"] if clusters else ""

    chosen = {"best-of-n": best_of_n, "majority": majority, "self-consistency": self_consistency}[settings.method]

    def solve(question: str) -> dict[str, Any]:
        return {"text": chosen(question)}

    return solve


if __name__ == "__main__":
    run(prepare)
