"""A real model behind a server writes what it writes here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from ramify import generate_problems
from ramify.engine.control import requests
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import resolve_model
from ramify.engine.policy.prompts.prompt_format import choose_prompt_format
from ramify.engine.policy.remote.requests import SEED_MASK
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.runtime.serve.client import Runtime
from ramify.sampling_params import StepFormat, node_seed
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote

from .asking import shape
from .http_server import Ask, FakeServer, serving


@contextmanager
def served_model(name: str) -> Iterator[FakeServer]:
    """Serve a GGUF model through ramify's own runtime; each request starts afresh from its text."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Runtime("thread")) as runtime:
        loaded = portal.call(runtime.load, ModelConfig(path=str(resolve_model(name).path), threads=1))
        vocabulary = loaded.tokenizer
        format = choose_prompt_format(loaded.info.metadata, vocabulary, chat_template=loaded.info.chat_template)

        async def generate(tokens: tuple[int, ...], request: StepRequest, stop: StepFormat | None) -> StepResult:
            results = list[StepResult]()
            run = await loaded.open_run(tokens)
            await run.expand([request], allowance=None, on_result=results.append, step=stop)
            run.close()
            return results[0]

        def write_on(ask: Ask) -> list[str]:
            tokens = format.encode(ask.question, vocabulary) + tuple(vocabulary.encode(ask.prefix, special=False))
            stop = StepFormat(name="stop", pattern=re.escape(ask.body["stop"][0])) if "stop" in ask.body else None
            limit, seed = ask.body["max_tokens"], ask.seed or 0
            result = portal.call(generate, tokens, StepRequest(parent=0, child=1, seed=seed, max_tokens=limit), stop)
            written = [token for token in result.tokens if token not in loaded.tokenizer.ends]
            return [vocabulary.piece(token).decode() for token in written]

        with serving(write_on) as server:
            yield server


@pytest.mark.parametrize(("strategy", "equal"), [(MajorityVote(width=64), 64), (Rebase(width=16), 16)])
async def test_a_served_model_writes_what_it_writes_here(
    strategy: Any, equal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "node_seed", lambda seed, path: node_seed(seed, path) & SEED_MASK)
    problem = generate_problems(steps=(3, 3), count=1, seed=7)[0]
    scorer = None if isinstance(strategy, MajorityVote) else (lambda question, steps: len(steps[-1]) / 100)
    async with Engine("demo-m", scorer, isolation="thread", threads=1) as engine:
        here = await engine.solve(problem, strategy=strategy, seed=4)
    with served_model("demo-m") as server:
        address = f"openai:{server.url}#demo-m"
        async with Engine(address, scorer, prompt_preset="chat:plain") as engine:
            there = await engine.solve(problem, strategy=strategy, seed=4)
    texts, others = ({(path, text) for path, text, _ in shape(each)} for each in (here, there))
    # Where two tokens are all but equally likely, another batch shape may tip the balance.
    assert len(texts & others) >= 0.9 * len(texts)
    answers, others = (Counter(each.answer for each in solution.candidates) for solution in (here, there))
    assert (answers - others).total() <= 0.1 * equal == 0.1 * answers.total()
