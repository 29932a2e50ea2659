"""A judge behind a local OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ramify.engine.rewards import judge
from ramify.engine.rewards.judge import JudgeReward, parse_address
from ramify.errors import RewardError, UsageError
from ramify.reward.protocol import ScoredStep

Answer = Callable[[dict[str, Any]], "tuple[int, Any]"]


class Endpoint:
    """Answers each request with what `answer` returns for its body, and notes it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answer: Answer = lambda body: (200, graded("Score: 7"))
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((self.path, dict(self.headers), body))
                code, reply = endpoint.answer(body)
                self.send_response(code)
                self.end_headers()
                self.wfile.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode())

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def graded(text: str) -> dict[str, Any]:
    message = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return {**message, "usage": {"prompt_tokens": 20, "completion_tokens": 3}}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(judge, "PAUSE_S", 0.0)
    made = Endpoint()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def step(node: int, *path: str) -> ScoredStep:
    return ScoredStep(node=node, parent=None, path=path)


def reward_at(endpoint: Endpoint, **options: Any) -> JudgeReward:
    return JudgeReward(parse_address(f"openai:{endpoint.url}#grader"), **options)


async def test_each_path_is_graded_and_its_tokens_are_metered(endpoint: Endpoint) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        return 200, graded("I see.\n**Score: 9/10**" if "good" in body["messages"][1]["content"] else "score = 2")

    endpoint.answer = answer
    session = await reward_at(endpoint, key="secret").open("What is 2 + 3?")
    assert await session.score([step(1, "good\n", "more\n"), step(2, "bad\n")]) == [0.9, 0.2]
    assert (session.usage.evaluated_tokens, session.usage.generated_tokens) == (40, 6)
    path, headers, body = next(each for each in endpoint.requests if "good" in each[2]["messages"][1]["content"])
    assert (path, headers["Authorization"], body["model"]) == ("/v1/chat/completions", "Bearer secret", "grader")
    assert body["messages"][1]["content"] == "Problem:\nWhat is 2 + 3?\n\nSteps so far:\ngood\nmore"


async def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    replies = iter([(429, {}), (503, {}), (200, graded("Score: 5"))])
    endpoint.answer = lambda body: next(replies)
    session = await reward_at(endpoint).open("Q")
    assert await session.score([step(1, "a")]) == [0.5]
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {}), r"answered 401 .*OPENAI_API_KEY"),
        ((200, b"<html>"), "does not answer as an OpenAI-compatible"),
        ((200, graded("fine")), r"no score \('fine'\)"),
        ((200, {"choices": []}), "no score"),
        ((500, {}), "answered 500"),
    ],
)
async def test_a_failure_names_the_node_and_the_cause(endpoint: Endpoint, reply: Any, message: str) -> None:
    endpoint.answer = lambda body: reply
    session = await reward_at(endpoint).open("Q")
    with pytest.raises(RewardError, match=message) as caught:
        await session.score([step(3, "a")])
    assert caught.value.node == 3


async def test_an_endpoint_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "PAUSE_S", 0.0)
    session = await JudgeReward(parse_address("openai:http://127.0.0.1:9/v1#m")).open("Q")
    with pytest.raises(RewardError, match=r"127\.0\.0\.1:9/v1 gave no score for node 1: it cannot be reached"):
        await session.score([step(1, "a")])


@pytest.mark.parametrize("text", ["openai:", "openai:http://h/v1", "openai:#m", "openai:file:///etc/passwd#m"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no judge"):
        parse_address(text)


def test_a_grade_above_its_scale_is_one() -> None:
    reward = JudgeReward(parse_address("openai:http://h/v1#m"), key="")
    assert reward._grade("Score: 12", step(1, "a")) == 1.0  # pyright: ignore[reportPrivateUsage]
    assert reward._grade("score 3/4", step(1, "a")) == 0.75  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "text",
    [
        "**Score**: 8",
        "Score: `8`",
        "**Score:** 8/10",
        "__Score__ = __8__",
        "Score: **4**/5",
        "score_2 is low. Score: 8",
    ],
)
def test_a_grade_may_be_in_markdown(endpoint: Endpoint, text: str) -> None:
    assert reward_at(endpoint)._grade(text, step(1, "a")) == 0.8  # pyright: ignore[reportPrivateUsage]


async def test_an_answer_without_a_grade_blames_no_address(endpoint: Endpoint) -> None:
    endpoint.answer = lambda body: (200, graded("I cannot tell."))
    session = await reward_at(endpoint).open("What is 2 + 3?")
    with pytest.raises(RewardError, match=r"no score .* choose a model that follows instructions"):
        await session.score([step(1, "a")])
