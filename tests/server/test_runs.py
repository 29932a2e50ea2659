"""Runs over the API: their trees, their events, steering, and what a caller sees of those of others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from ramify.search.budget import Budget
from ramify.search.tree import SearchTree
from ramify.server.config import Caller

from .conftest import QUESTION, Served

RUNS = "/v1/ramify/runs"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": QUESTION}], **fields}


@asynccontextmanager
async def running(server: Served, headers: dict[str, str] | None = None, **fields: Any) -> AsyncIterator[Any]:
    """Ask in the background; yield (client, run id, list that gets the response)."""
    found: list[httpx.Response] = []
    async with server.http(headers=headers or {}) as http, anyio.create_task_group() as tasks:

        async def ask() -> None:
            found.append(await http.post("/v1/chat/completions", json=body(**fields)))

        tasks.start_soon(ask)
        while not (runs := [run for run in (await http.get(RUNS)).json()["data"] if run["status"] == "running"]):
            await anyio.sleep(0.01)
        yield http, runs[0]["id"], found


async def events_of(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def endless(question: str, path: tuple[int, ...]) -> str:
    return "The answer is 7." if path[0] == 0 else "On and on.\n"


LONG = {"ramify": {"strategy": "majority", "width": 2, "max_path_tokens": 4000, "max_step_tokens": 20}}


async def test_a_run_is_listed_and_shown_with_its_tree(serving):
    async with serving() as server, server.http() as http:
        found = (await http.post("/v1/chat/completions", json=body(ramify={"width": 4}))).json()
        listed = (await http.get(RUNS)).json()["data"]
        shown = (await http.get(f"{RUNS}/{found['id']}")).json()
    assert [run["id"] for run in listed] == [found["id"]]
    assert "tree" not in listed[0]
    assert (listed[0]["status"], listed[0]["answer"], listed[0]["question"]) == ("finished", "7", QUESTION)
    tree = SearchTree.from_dict(shown["tree"])
    assert tree.node(shown["winner"]).answer == "7"
    assert shown["solution"]["answer"] == "7"


async def test_events_begin_with_the_state_and_end_with_the_run(serving):
    async with (
        serving(endless, delay_s=0.02) as server,
        running(server, **LONG) as (http, run_id, found),
        http.stream("GET", f"{RUNS}/{run_id}/events") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        seen = []
        async for event in events_of(response):
            seen.append(event)
            if len(seen) == 6:
                stopped = await http.post(f"{RUNS}/{run_id}/stop", json={})
                assert stopped.status_code == 200
    kinds = [event["type"] for event in seen]
    assert kinds[0] == "snapshot"
    assert seen[0]["run"]["tree"]["nodes"]
    assert "node_added" in kinds
    assert kinds[-2:] == ["run_finished", "run_ended"]
    assert seen[-2]["solution"]["stop_reason"] == "user"
    assert found[0].json()["ramify"]["stop_reason"] == "user"


async def test_who_watches_a_waiting_run_gets_its_state_when_it_begins(serving):
    async with serving(endless, delay_s=0.02, max_runs=1) as server, running(server, **LONG) as (http, first, _):
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                await http.post("/v1/chat/completions", json=body(ramify={"strategy": "greedy", "max_nodes": 3}))

            tasks.start_soon(ask)
            while len(runs := (await http.get(RUNS)).json()["data"]) < 2:
                await anyio.sleep(0.01)
            async with http.stream("GET", f"{RUNS}/{runs[0]['id']}/events") as response:
                events = events_of(response)
                waiting = await anext(events)
                await http.post(f"{RUNS}/{first}/stop", json={})
                begun = await anext(events)
                seen = [event["type"] async for event in events]
    assert (waiting["type"], waiting["run"]["status"], waiting["run"]["tree"]) == ("snapshot", "queued", None)
    assert (begun["type"], begun["run"]["status"]) == ("snapshot", "running")
    assert len(begun["run"]["tree"]["nodes"]) == 1
    assert seen[0] == "run_started" and seen[-1] == "run_ended"


async def test_events_of_a_run_that_has_ended_are_its_state(serving):
    async with serving() as server, server.http() as http:
        found = (await http.post("/v1/chat/completions", json=body())).json()
        async with http.stream("GET", f"{RUNS}/{found['id']}/events") as response:
            seen = [event async for event in events_of(response)]
    assert [event["type"] for event in seen] == ["snapshot"]
    assert seen[0]["run"]["status"] == "finished"


async def test_a_stopped_run_answers_with_its_best_so_far(serving):
    async with serving(endless, delay_s=0.01) as server, running(server, **LONG) as (http, run_id, found):
        while not (await http.get(f"{RUNS}/{run_id}")).json()["answer"]:
            await anyio.sleep(0.02)
        await http.post(f"{RUNS}/{run_id}/stop", json={})
    block = found[0].json()["ramify"]
    assert (block["answer"], block["stop_reason"]) == ("7", "user")


async def test_the_budget_of_a_run_can_be_changed(serving):
    async with serving(endless, delay_s=0.01) as server, running(server, **LONG) as (http, run_id, found):
        wrong = await http.post(f"{RUNS}/{run_id}/budget", json={"minutes": 3})
        raised = await http.post(f"{RUNS}/{run_id}/budget", json={"seconds": None, "nodes": 5000})
        assert raised.json()["budget"] == Budget(generated_tokens=8192, nodes=5000).to_dict()
        await http.post(f"{RUNS}/{run_id}/budget", json={"nodes": 4})
    assert wrong.status_code == 400
    assert found[0].json()["ramify"]["stop_reason"] == "budget_nodes"


async def test_nodes_are_pruned_expanded_and_pinned(serving):
    async with serving(endless, delay_s=0.02) as server, running(server, **LONG) as (http, run_id, found):

        async def nodes() -> list[dict[str, Any]]:
            return (await http.get(f"{RUNS}/{run_id}")).json()["tree"]["nodes"]

        async def first(state: str) -> int:
            while not (fitting := [each["id"] for each in await nodes() if each["state"] == state and each["id"]]):
                await anyio.sleep(0.01)
            return fitting[0]

        finished = await first("finished")
        assert (await http.post(f"{RUNS}/{run_id}/pin", json={"node": finished})).status_code == 200
        assert (await http.post(f"{RUNS}/{run_id}/pin", json={"node": None})).status_code == 200
        wrong = await http.post(f"{RUNS}/{run_id}/pin", json={"node": 9999})
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")
        assert (await http.post(f"{RUNS}/{run_id}/prune", json={})).status_code == 400
        assert (await http.post(f"{RUNS}/{run_id}/prune", json={"node": 0})).status_code == 400
        assert (await http.post(f"{RUNS}/{run_id}/expand", json={"node": 9999})).status_code == 400
        branch = (await nodes())[2]["id"]
        assert (await http.post(f"{RUNS}/{run_id}/prune", json={"node": branch})).status_code == 200
    assert found[0].json()["ramify"]["answer"] == "7"


async def test_what_has_ended_cannot_be_steered(serving):
    async with serving() as server, server.http() as http:
        found = (await http.post("/v1/chat/completions", json=body())).json()
        late = await http.post(f"{RUNS}/{found['id']}/stop", json={})
        unknown = await http.post(f"{RUNS}/run-0/stop", json={})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "run_not_running")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "run_not_found")


async def test_a_caller_sees_its_own_runs_alone(serving):
    callers = [Caller.with_key("ann", "a-key"), Caller.with_key("bob", "b-key")]
    ann, bob = {"Authorization": "Bearer a-key"}, {"Authorization": "Bearer b-key"}
    async with serving(callers=callers) as server, server.http() as http:
        found = (await http.post("/v1/chat/completions", json=body(), headers=ann)).json()
        assert (await http.get(f"{RUNS}/{found['id']}", headers=ann)).status_code == 200
        assert (await http.get(f"{RUNS}/{found['id']}", headers=bob)).status_code == 404
        assert (await http.get(RUNS, headers=bob)).json()["data"] == []


async def test_only_the_last_runs_are_kept(serving):
    async with serving(kept_runs=2) as server, server.http() as http:
        ids = [(await http.post("/v1/chat/completions", json=body())).json()["id"] for _ in range(4)]
        listed = [run["id"] for run in (await http.get(RUNS)).json()["data"]]
    assert listed == ids[:1:-1]


async def test_the_memory_of_kept_runs_is_bounded(serving):
    async with serving(kept_bytes=1 << 10) as server, server.http() as http:
        ids = [(await http.post("/v1/chat/completions", json=body())).json()["id"] for _ in range(3)]
        listed = [run["id"] for run in (await http.get(RUNS)).json()["data"]]
        gone = await http.get(f"{RUNS}/{ids[0]}")
    assert listed == ids[-1:]
    assert gone.status_code == 404


@pytest.mark.parametrize("action", ["stop", "budget", "prune", "expand", "pin"])
async def test_steering_takes_json_alone(serving, action):
    async with serving() as server, server.http() as http:
        found = await http.post(f"{RUNS}/run-1/{action}", content="node=3")
    assert found.status_code == 415
