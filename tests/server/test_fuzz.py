"""Random bodies, paths and headers: whatever comes in, no answer is a 500."""

from __future__ import annotations

import json
import string
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ramify.engine.engine import Engine
from ramify.engine.testing import ScriptedModel
from ramify.search.budget import Budget
from ramify.server.app import Service
from ramify.server.config import ANYONE, Caller, ServerConfig
from ramify.server.messages import ChatRequest

from .conftest import answers, score

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["budget", "strategy", "width", "strategy_options", "max_seconds", "seed", "stop", "reward"])
STRATEGIES = st.sampled_from(["rebase", "mcts", "beam", "dvts", "majority", "particle", "greedy", "auto", "refine"])
RAMIFY = st.dictionaries(
    KEYS | st.text(max_size=8),
    JSON | STRATEGIES | st.dictionaries(st.sampled_from(["seconds", "nodes", "flops"]), JSON, max_size=2),
    max_size=3,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant"]) | JSON, "content": st.text(max_size=9) | JSON}
    )
    | JSON,
    max_size=3,
)
FIELDS = st.sampled_from(sorted(ChatRequest.model_fields)) | st.text(alphabet=string.ascii_lowercase, max_size=9)
BODIES = (
    st.builds(
        lambda given, more: {"model": "scripted", "messages": [{"role": "user", "content": "q"}], **given, **more},
        st.fixed_dictionaries({}, optional={"ramify": RAMIFY, "messages": MESSAGES}),
        st.dictionaries(FIELDS, JSON, max_size=3),
    )
    | JSON
)
PATHS = st.sampled_from(
    [
        "/v1/chat/completions", "/v1/ramify/score", "/v1/ramify/runs/x/stop", "/v1/ramify/runs/x/budget",
        "/v1/ramify/runs/x/prune", "/v1/ramify/runs/x/expand", "/v1/ramify/runs/x/pin",
    ]
)  # fmt: skip


Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Send one request to a server without a network."""
    # Longer runs would only make the test slow.
    config = ServerConfig(callers=[Caller(name=ANYONE, budget=Budget(nodes=20, seconds=2.0))])

    @asynccontextmanager
    async def served() -> AsyncIterator[httpx.AsyncClient]:
        async with Engine(ScriptedModel(answers), score) as engine:
            transport = httpx.ASGITransport(Service(engine, config).app(), raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                yield http

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(served()) as http:

        def send(method: str, path: str, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
            given = {"Content-Type": "application/json", **(headers or {})}
            return portal.call(partial(http.request, method, path, content=content, headers=given))

        yield send


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


SLOWLY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@SLOWLY
@given(path=PATHS, value=BODIES)
def test_random_values(ask, path, value):
    found = ask("POST", path, encoded(value))
    assert found.status_code < 500, found.text
    if found.status_code != 200:
        assert set(found.json()["error"]) == {"message", "type", "param", "code"}


@SLOWLY
@given(path=PATHS, content=st.binary(max_size=60))
def test_random_bytes(ask, path, content):
    assert ask("POST", path, content).status_code < 500


@SLOWLY
@given(
    method=st.sampled_from(["GET", "PUT", "DELETE", "OPTIONS", "HEAD"]),
    path=st.text(alphabet=string.printable, max_size=30),
    limit=st.text(alphabet=string.ascii_letters + string.digits + ".-", max_size=8),
)
def test_random_paths_and_headers(ask, method, path, limit):
    assert ask(method, f"/{quote(path)}", b"").status_code < 500
    found = ask("POST", "/v1/chat/completions", encoded({"model": "scripted"}), {"X-Ramify-Budget-Seconds": limit})
    assert found.status_code == 400


def test_deep_and_huge_values(ask):
    for content in (b"[" * 100_000, b'{"a":' * 50_000, b'{"seed":' + b"9" * 5000 + b"}", b'{"temperature": NaN}'):
        assert ask("POST", "/v1/chat/completions", content).status_code == 400
    half = b'{"model": "scripted", "messages": [{"role": "user", "content": "\\ud800"}]}'
    assert ask("POST", "/v1/chat/completions", half).status_code == 400
