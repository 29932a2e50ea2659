"""Admission tests of the server: keys, budgets of keys, the queue, disconnects, and requests of web pages."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from ramify.errors import UsageError
from ramify.search.budget import Budget
from ramify.server.config import Caller, ServerConfig, read_callers
from ramify.server.gate import JsonLines
from ramify.server.service import bind

from .conftest import QUESTION, Served, Serving

CHAT = "/v1/chat/completions"
SLOW = {"strategy": "majority", "width": 2, "max_path_tokens": 4000, "max_step_tokens": 20}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": QUESTION}], **fields}


def endless(question: str, path: tuple[int, ...]) -> str:
    return "On and on.\n"


Full = tuple[Served, httpx.AsyncClient, list[httpx.Response]]


async def until(http: httpx.AsyncClient, **wanted: int) -> None:
    """Wait until the server has these numbers of runs."""
    while not wanted.items() <= (await http.get("/health")).json().items():
        await anyio.sleep(0.01)


@asynccontextmanager
async def full(serving: Serving, **config: Any) -> AsyncGenerator[Full]:
    """Serve one run, while another one waits; yield the responses to both, which come in the block."""
    found: list[httpx.Response] = []
    async with serving(endless, delay_s=0.02, max_runs=1, **config) as server, server.http() as http:

        async def ask() -> None:
            found.append(await http.post(CHAT, json=body(ramify=SLOW)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(http, running=1)
            tasks.start_soon(ask)
            await until(http, running=1, queued=1)
            yield server, http, found


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_is_asked_for_everywhere_but_at_health(serving, caplog):
    caplog.set_level(logging.INFO)
    async with serving(callers=[Caller.with_key("ann", "sesame")]) as server, server.http() as http:
        assert (await http.get("/health")).status_code == 200
        for path in ("/v1/models", "/metrics", "/v1/ramify/runs", "/nowhere"):
            missing = await http.get(path)
            assert (missing.status_code, missing.json()["error"]["code"]) == (401, "invalid_api_key"), path
            assert (await http.get(path, headers=bearer("wrong"))).status_code == 401
            assert (await http.get(path, headers={"Authorization": "Basic sesame"})).status_code == 401
        assert (await http.get("/v1/models", headers=bearer("sesame"))).status_code == 200
    assert "sesame" not in caplog.text
    assert "caller=ann" in caplog.text


async def test_a_caller_has_limits(serving):
    ann = Caller.with_key("ann", "key", budget=Budget(generated_tokens=100, seconds=5))
    async with serving(callers=[ann]) as server, server.http(headers=bearer("key")) as http:
        usual = (await http.post(CHAT, json=body())).json()
        run = (await http.get(f"/v1/ramify/runs/{usual['id']}")).json()
        assert Budget.from_dict(run["budget"]) == Budget(generated_tokens=100, seconds=5)
        more = await http.post(CHAT, json=body(ramify={"budget": {"generated_tokens": 200}}))
        assert (more.status_code, more.json()["error"]["code"]) == (400, "budget_limit")
        header = await http.post(CHAT, json=body(), headers={"X-Ramify-Budget-Seconds": "1h"})
        assert header.status_code == 400
        less = await http.post(CHAT, json=body(ramify={"budget": {"generated_tokens": 50}}))
        assert less.status_code == 200


async def test_beyond_the_queue_requests_are_refused(serving):
    async with full(serving, max_queued=1) as (_, http, found):
        refused = await http.post(CHAT, json=body())
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        # One after the other, as the second runs when the first has ended.
        while len(found) < 2:
            for run in (await http.get("/v1/ramify/runs")).json()["data"]:
                if run["status"] == "running":
                    await http.post(f"/v1/ramify/runs/{run['id']}/stop", json={})
            await anyio.sleep(0.02)
    assert [each.status_code for each in found] == [200, 200]


async def test_a_caller_at_its_bound_lets_others_pass(serving):
    callers = [Caller.with_key("ann", "a", max_runs=1), Caller.with_key("bob", "b")]
    async with serving(endless, delay_s=0.02, callers=callers, max_runs=2) as server, server.http() as http:
        async with anyio.create_task_group() as tasks:

            async def ask(key: str) -> None:
                await http.post(CHAT, json=body(ramify=SLOW), headers=bearer(key))

            async def statuses(key: str) -> list[str]:
                runs = (await http.get("/v1/ramify/runs", headers=bearer(key))).json()["data"]
                return sorted(run["status"] for run in runs)

            for key in ("a", "a", "b"):
                tasks.start_soon(ask, key)
            while await statuses("b") != ["running"] or await statuses("a") != ["queued", "running"]:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_cancels_its_run(serving, stream):
    async with serving(endless, delay_s=0.02) as server:
        async with server.http() as http:
            async with server.http() as leaving, anyio.create_task_group() as tasks:

                async def ask() -> None:
                    async with leaving.stream("POST", CHAT, json=body(ramify=SLOW, stream=stream)) as response:
                        async for _ in response.aiter_lines():
                            pass

                tasks.start_soon(ask)
                await until(http, running=1)
                tasks.cancel_scope.cancel()
            await until(http, running=0)
            (run,) = (await http.get("/v1/ramify/runs")).json()["data"]
    assert run["status"] == "cancelled"


async def test_clients_that_go_away_at_random_leave_nothing_behind(serving):
    async with serving(endless, delay_s=0.01, max_runs=4, max_queued=200) as server:
        async with anyio.create_task_group() as tasks:

            async def leave(number: int) -> None:
                async with server.http() as http:
                    with anyio.move_on_after(0.01 * (number * 37 % 100)):
                        await http.post(CHAT, json=body(ramify=SLOW, stream=bool(number % 2)))

            for number in range(100):
                tasks.start_soon(leave, number)
        async with server.http() as http:
            while (state := (await http.get("/health")).json())["running"] or state["queued"]:
                await anyio.sleep(0.05)
            answered = await http.post(CHAT, json=body(ramify={"strategy": "greedy", "max_nodes": 2}))
    assert answered.status_code == 200


async def test_the_end_of_a_server_answers_what_runs(serving):
    async with full(serving, grace_s=0.5) as (server, _, found):
        server.end.set()
    by_status = {each.status_code: each.json() for each in found}
    assert by_status.keys() == {200, 503}
    assert by_status[200]["ramify"]["stop_reason"] == "user"
    assert by_status[503]["error"]["code"] == "server_ending"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
async def test_a_web_page_cannot_use_a_local_server_under_its_own_name(serving, host):
    async with serving() as server, server.http() as http:
        found = await http.get("/v1/models", headers={"Host": host})
        assert (found.status_code, found.json()["error"]["code"]) == (403, "wrong_host")
        assert (await http.get("/v1/models", headers={"Host": "localhost:1"})).status_code == 200
        assert (await http.get("/v1/models", headers={"Host": "[::1]"})).status_code == 200


async def test_a_web_page_cannot_send_a_form(serving):
    async with serving() as server, server.http() as http:
        found = await http.post(CHAT, content=json.dumps(body()), headers={"Content-Type": "text/plain"})
        preflight = await http.request("OPTIONS", CHAT, headers={"Origin": "http://evil.example"})
    assert found.status_code == 415
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control")]


async def test_long_bodies_are_refused(serving):
    long = json.dumps(body(user="x" * (5 << 20)))

    async def parts():
        yield long.encode()

    async with serving() as server, server.http() as http:
        declared = await http.post(CHAT, content=long, headers={"Content-Type": "application/json"})
        chunked = await http.post(CHAT, content=parts(), headers={"Content-Type": "application/json"})
    assert (declared.status_code, chunked.status_code) == (413, 413)


async def test_metrics_count_what_has_run(serving):
    async with serving() as server, server.http() as http:
        await http.post(CHAT, json=body())
        await http.post(CHAT, json=body(n=0))
        text = (await http.get("/metrics")).text
    assert 'ramify_runs_total{status="finished"} 1.0' in text
    assert 'ramify_requests_total{path="/v1/chat/completions",status="400"} 1.0' in text
    assert "ramify_time_to_answer_seconds_count 1.0" in text
    assert 'ramify_tokens_total{kind="generated"}' in text


async def test_log_lines_as_json(serving, caplog):
    caplog.set_level(logging.INFO, logger="ramify.server")
    async with serving() as server, server.http() as http:
        await http.post(CHAT, json=body())
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "ramify.server"]
    (line,) = [each for each in lines if each.get("path") == CHAT]
    assert (line["status"], line["run_status"], line["answered"], line["caller"]) == (200, "finished", True, "anyone")
    assert line["generated_tokens"] > 0 and line["seconds"] > 0


def test_a_file_of_keys(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text('[ann]\nkey = "one"\nseconds = 10\nmax_runs = 2\n[anyone]\ngenerated_tokens = 100\n')
    config = ServerConfig(callers=read_callers(file))
    ann, anyone = config.caller("one"), config.caller(None)
    assert ann is not None and anyone is not None
    assert (ann.name, ann.budget, ann.max_runs) == ("ann", Budget(seconds=10), 2)
    assert (anyone.name, anyone.budget) == ("anyone", Budget(generated_tokens=100))
    assert config.caller("two") is None
    assert config.is_open
    assert "key" not in repr(config.callers[0]) and "digest" not in repr(config.callers[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no callers"),
        ("ann = 3", "has to be a table"),
        ("[ann]\nseconds = 10", "has no key"),
        ('[anyone]\nkey = "x"', "has a key"),
        ("[ann]\nkey = 3", "no text"),
        ('[ann]\nkey = ""', "cannot be sent"),
        ('[ann]\nkey = "x"\nsecnds = 3', "secnds"),
        ('[ann]\nkey = "x"\nseconds = -3', "seconds"),
        ('[ann]\nkey = "x"\nmax_runs = 0', "max_runs"),
        ("[ann", "not TOML"),
    ],
)
def test_a_wrong_file_of_keys_is_one_clear_error(tmp_path, text, words):
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_callers(file)


def test_a_taken_address_is_told_before_anything_is_loaded():
    with bind(ServerConfig(port=0)) as first:
        first.listen()
        with pytest.raises(UsageError, match="cannot be used"):
            bind(ServerConfig(port=first.getsockname()[1]))
    with pytest.raises(UsageError, match="no address of this machine"):
        bind(ServerConfig(host="no such host"))
