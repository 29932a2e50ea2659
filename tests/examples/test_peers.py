"""The comparison with peers: its endpoint answers and counts right, and its results can be gone on with."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ramify

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
MODEL, REWARD = "demo-s:f16", "demo-prm:f16"
QUESTION = ramify.generate_problems(steps=(3, 3), count=1, seed=5)[0].question
ASK = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, str(PEERS / "endpoint.py"), "--model", MODEL, "--reward", REWARD, "--threads", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(30.0) == 0


def post(url: str, body: dict[str, Any], peer: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {peer}"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def chat(address: str, peer: str, **body: Any) -> dict[str, Any]:
    return post(f"{address}/v1/chat/completions", {"messages": ASK, "temperature": 0.0, **body}, peer)


def text_of(reply: dict[str, Any]) -> str:
    return reply["choices"][0]["message"]["content"]


async def solve(reward: str | None, **options: Any) -> ramify.Solution:
    async with ramify.Engine(MODEL, reward, threads=1) as engine:
        return await engine.solve(QUESTION, **options)


async def test_it_writes_and_counts_as_the_engine_does(address: str) -> None:
    expected = await solve(None, strategy="greedy")
    reply = chat(address, "greedy")
    assert text_of(reply) == expected.text
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] == expected.usage.policy.generated_tokens
    assert reply["usage"]["prompt_tokens"] == expected.usage.policy.prompt_tokens
    used = post(f"{address}/take", {}, "greedy")
    assert used["generated_tokens"] == expected.usage.policy.generated_tokens
    assert used["prompt_tokens"] == expected.usage.policy.prompt_tokens
    assert (used["requests"], used["texts"], used["reward_tokens"]) == (1, 1, 0)
    assert used["busy_s"] > 0


def test_steps_make_the_whole_text_and_nothing_is_read_twice(address: str) -> None:
    whole = chat(address, "whole")
    text, generated = "", 0
    while True:
        goes_on = {"messages": [*ASK, {"role": "assistant", "content": text}], "continue_final_message": True}
        reply = chat(address, "steps", stop=["\n"], **(goes_on if text else {}))
        generated += reply["usage"]["completion_tokens"]
        text += text_of(reply)
        if reply["choices"][0]["stop_reason"] is None:
            break
        text += "\n"
    assert text == text_of(whole)
    assert text.count("\n") >= 2
    used = post(f"{address}/take", {}, "steps")
    assert used["generated_tokens"] == generated == whole["usage"]["completion_tokens"]
    assert used["prompt_tokens"] == whole["usage"]["prompt_tokens"]
    assert used["sent_tokens"] > used["prompt_tokens"]


def test_several_texts_differ_and_a_seed_repeats_them(address: str) -> None:
    asked: dict[str, Any] = {"n": 6, "temperature": 3.0, "max_tokens": 20}
    first, again = chat(address, "a", **asked, seed=3), chat(address, "b", **asked, seed=3)
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert texts == [choice["message"]["content"] for choice in again["choices"]]
    assert len(set(texts)) > 1
    assert first["usage"]["completion_tokens"] == post(f"{address}/take", {}, "a")["generated_tokens"] <= 6 * 20
    assert text_of(chat(address, "a", temperature=3.0)) != text_of(chat(address, "a", temperature=3.0))


def test_completions_take_the_prompt_as_text(address: str) -> None:
    prompt = f"<|user|>{QUESTION}<|assistant|>"
    reply = post(f"{address}/v1/completions", {"prompt": prompt, "temperature": 0.0}, "text")
    assert reply["choices"][0]["text"] == text_of(chat(address, "chat"))


async def test_scores_are_those_of_a_search(address: str) -> None:
    likeliest = ramify.SamplingParams(temperature=0.0)
    expected = await solve(REWARD, strategy=ramify.WeightedVote(width=1), sampling=likeliest)
    text = expected.candidates[0].text
    steps = text.splitlines(keepends=True)
    texts = ["".join(steps[: end + 1]).rstrip("\n") for end in range(len(steps))]
    scores = [post(f"{address}/score", {"prompt": QUESTION, "texts": [each]}, "judge")["scores"][0] for each in texts]
    assert scores[-1] == pytest.approx(expected.candidates[0].score, abs=1e-3)
    assert post(f"{address}/take", {}, "judge")["reward_tokens"] == expected.usage.reward.evaluated_tokens


async def test_a_search_over_http_is_charged_what_it_reports(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_API_KEY", "search")
    model = f"openai:{address}/v1#policy"
    async with ramify.Engine(model, None, prompt_preset="chat:plain", step_format="line") as engine:
        await engine.solve("How many?", strategy=ramify.Greedy())
        post(f"{address}/take", {}, "search")
        solution = await engine.solve(QUESTION, strategy=ramify.MajorityVote(width=4))
    used = post(f"{address}/take", {}, "search")
    policy = solution.usage.policy
    assert policy.generated_tokens == used["generated_tokens"] > 0
    # Replies may come in another order than that in which the question was read.
    assert policy.prompt_tokens + policy.reevaluated_tokens == used["prompt_tokens"] > 0


@pytest.mark.parametrize("body", [{"messages": []}, {"n": 0}, {"messages": ASK * 60}])
def test_what_cannot_be_answered_is_refused(address: str, body: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        chat(address, "wrong", **body)
    with refused.value as reply:
        assert reply.code == 400
        assert json.load(reply)["error"]["message"]


def test_a_comparison_goes_on_and_tells_what_failed(tmp_path: Path) -> None:
    out = tmp_path / "peers.json"
    options = ["--sides", "llama_cpp.Llama,llama-server", "--samples", "2", "--seed", "3", "--out", str(out)]

    def compare(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PEERS / "run.py"), *options, *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    done = compare("--count", "2", "--block", "1")
    assert done.returncode == 0, done.stderr
    assert "| llama_cpp.Llama | majority | " in done.stdout
    assert "| llama-server, rebase | no binary was given (--llama-server PATH) |" in done.stdout
    loop = json.loads(out.read_text("utf-8"))["entries"][0]
    assert [item["problem"] for item in loop["items"]] == ["3-0", "3-1"]
    assert all(item["generated_tokens"] > 0 and item["error"] is None for item in loop["items"])
    before = out.read_bytes()
    assert compare("--count", "2").stdout == done.stdout
    assert out.read_bytes() == before
    assert "other settings" in compare("--count", "3").stderr


def test_ramify_serve_is_a_side_on_the_problems_of_a_file(tmp_path: Path) -> None:
    problems = ramify.generate_problems(steps=(2, 2), count=3, seed=9)
    file, out = tmp_path / "problems.jsonl", tmp_path / "peers.json"
    file.write_text("".join(json.dumps({"question": each.question, "answer": each.answer}) + "\n" for each in problems))
    command = [sys.executable, str(PEERS / "run.py"), "--problems", str(file), "--count", "2", "--seed", "1"]
    command += ["--sides", "ramify,ramify serve", "--methods", "majority", "--samples", "2", "--model", MODEL]
    command += ["--max-tokens", "100", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text("utf-8"))
    assert results["settings"]["problems"] == "problems.jsonl"
    mine, served = results["entries"]
    assert (mine["method"], served["method"]) == ("in-process/majority", "serve/majority")
    assert served["failure"] is None and len(served["items"]) == 2
    # The same search with the same seed, so the same tokens.
    for name in ("problem", "answer", "generated_tokens", "prompt_tokens"):
        assert [item[name] for item in served["items"]] == [item[name] for item in mine["items"]]
