"""Rewards behind HTTP: ramify's own server, and servers that answer as vLLM's and llama-server's documents say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import ramify
from ramify.engine.engine import Engine
from ramify.engine.rewards.http_reward import HttpReward, Wire, parse_score_address, rendered
from ramify.engine.rewards.naming import check_reward, read_reward_name
from ramify.engine.testing import ScriptedModel
from ramify.errors import RewardError, UsageError
from ramify.reward.protocol import ScoredStep
from ramify.reward.published import qwen_prm_spec
from ramify.reward.scores import sigmoid
from ramify.reward.spec_loading import load_spec

STEPS = [
    ScoredStep(node=1, parent=None, path=("3 + 4 = 7.\n",)),
    ScoredStep(node=2, parent=1, path=("3 + 4 = 7.\n", "The answer is 7.")),
]


class Answers:
    """A server that answers each request with the next reply; `asked` has (path, body) of all."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.asked: list[tuple[str, Any]] = []
        self.url = ""


@contextmanager
def answering(reply: Any) -> Iterator[Answers]:
    """Run a server whose replies are `reply(body)`: JSON values, or a number for an error."""
    answers = Answers(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answers.asked.append((self.path, body))
            found = answers.reply(body)
            data = json.dumps({"error": {"message": "no"}} if isinstance(found, int) else found).encode()
            self.send_response(found if isinstance(found, int) else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        answers.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield answers
        finally:
            server.shutdown()
            thread.join()


async def scores(reward: HttpReward) -> tuple[list[float], Any]:
    session = await reward.open("What is 3 + 4?")
    found = await session.score(STEPS)
    await session.close()
    return found, session.usage


@pytest.mark.parametrize(
    ("text", "url", "path", "model", "wire"),
    [
        ("http://host:8642", "http://host:8642", "/v1/ramify/score", "", Wire.RAMIFY),
        ("http:http://host:8642/v1/", "http://host:8642", "/v1/ramify/score", "", Wire.RAMIFY),
        ("http:https://host/v1/ramify/score#prm", "https://host", "/v1/ramify/score", "prm", Wire.RAMIFY),
        ("http://host:8000/pooling#Qwen/PRM", "http://host:8000", "/pooling", "Qwen/PRM", Wire.POOLING),
        ("https://host/v1/reranking", "https://host/v1", "/reranking", "", Wire.RERANKING),
        ("http://host/rerank", "http://host", "/rerank", "", Wire.RERANKING),
    ],
)
def test_addresses(text, url, path, model, wire):
    found = parse_score_address(text)
    assert (found.url, found.path, found.model, found.wire) == (url, path, model, wire)
    assert read_reward_name(text).service == found


@pytest.mark.parametrize(
    "text", ["http:", "http:host", "http://", "http:ftp://host", "http://a,http://b", "http://u:p@h"]
)
def test_wrong_addresses(text):
    with pytest.raises(UsageError):
        read_reward_name(text)


def test_a_pooling_model_has_scores_at_its_steps():
    with pytest.raises(UsageError, match="reward-spec"):
        check_reward("http://host/pooling", "thinkprm")
    assert check_reward("http://host/pooling", "math-shepherd").service is not None
    assert check_reward("http://host/pooling").service is not None


async def test_of_two_tokens_the_good_one_comes_first():
    spec = load_spec("math-shepherd")
    rows = [{"index": 0, "data": [[0.8, 0.2]]}, {"index": 1, "data": [[0.8, 0.2], [0.3, 0.7]]}]
    with answering(lambda body: {"data": rows}) as server:
        found, _ = await scores(HttpReward(parse_score_address(f"{server.url}/pooling"), spec))
    assert found == [0.8, 0.3]


async def test_ramify_scores():
    reply = {"scores": [[0.4], [0.4, 0.9]], "usage": {"prompt_tokens": 30, "completion_tokens": 0}}
    with answering(lambda body: reply) as server:
        found, usage = await scores(HttpReward(parse_score_address(f"http:{server.url}#prm")))
    assert found == [0.4, 0.9]
    assert usage.evaluated_tokens == 30
    body = {"question": "What is 3 + 4?", "paths": [list(step.path) for step in STEPS], "model": "prm"}
    assert server.asked == [("/v1/ramify/score", body)]


async def test_reranking_scores_come_sorted_and_are_logits():
    reply = {"results": [{"index": 1, "relevance_score": 2.0}, {"index": 0, "relevance_score": -1.0}]}
    with answering(lambda body: reply) as server:
        found, _ = await scores(HttpReward(parse_score_address(f"{server.url}/reranking")))
    assert found == [sigmoid(-1.0), sigmoid(2.0)]
    assert server.asked[0][0] == "/reranking"
    assert server.asked[0][1] == {
        "query": "What is 3 + 4?",
        "documents": ["3 + 4 = 7.", "3 + 4 = 7.\nThe answer is 7."],
    }


async def test_pooling_reads_the_last_row_of_each_text():
    rows = [{"index": 1, "data": [[0.7, 0.3], [0.1, 0.9]]}, {"index": 0, "data": [[0.6, 0.4]]}]
    with answering(lambda body: {"data": rows, "usage": {"prompt_tokens": 9, "total_tokens": 9}}) as server:
        found, usage = await scores(HttpReward(parse_score_address(f"{server.url}/pooling#prm")))
    assert found == [0.4, 0.9]
    assert usage.evaluated_tokens == 9
    texts = server.asked[0][1]["input"]
    assert texts == [rendered(qwen_prm_spec(), "What is 3 + 4?", step.path) for step in STEPS]
    assert texts[0].endswith("<|im_start|>assistant\n3 + 4 = 7.<extra_0>")
    # The policy's steps are lines; the model's are paragraphs.
    assert texts[1].endswith("<|im_start|>assistant\n3 + 4 = 7.\nThe answer is 7.<extra_0>")


@pytest.mark.parametrize(
    "reply",
    [400, {}, [], None, {"scores": []}, {"scores": [[0.5]]}, {"scores": [[0.5], []]}, {"scores": [["x"], [1]]},
     {"scores": [[0.5], [2.0]]}, {"scores": 3}],
)  # fmt: skip
async def test_whatever_a_server_says_is_a_score_or_a_reward_error(reply):
    with answering(lambda body: reply) as server:
        with pytest.raises(RewardError):
            await scores(HttpReward(parse_score_address(server.url)))


async def test_a_search_with_the_reward_of_another_server():
    def reply(body: dict[str, Any]) -> Any:
        return {"scores": [[0.9 if "7" in step else 0.2 for step in path] for path in body["paths"]]}

    def script(question: str, path: tuple[int, ...]) -> str:
        return f"The answer is {7 if path[0] == 2 else 8}."

    with answering(reply) as server:
        async with Engine(ScriptedModel(script), f"http:{server.url}") as engine:
            solution = await engine.solve("q", strategy=ramify.BestOfN(width=4))
    assert solution.answer == "7"
    assert solution.model["reward"] == f"http {server.url}"


@pytest.mark.parametrize(("path", "sent"), [(("a\n", ""), ["a\n"]), (("",), [" "])])
async def test_a_step_that_only_ends_the_text_is_scored_as_the_one_before(path, sent) -> None:
    """The server refuses empty steps, which a client of its own would send by mistake."""
    with answering(lambda body: {"scores": [[0.5] * len(steps) for steps in body["paths"]]}) as answers:
        reward = HttpReward(parse_score_address(answers.url))
        found, _ = await reward.ask("How many?", [ScoredStep(node=1, parent=None, path=path)])
    assert found == [0.5]
    assert answers.asked[0][1]["paths"] == [sent]
