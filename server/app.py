"""The application of a server: its routes over one engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from ramify.engine.engine import Engine
from ramify.errors import MalformedText, RamifyError, TreeError
from ramify.json_text import read_json
from ramify.reward.protocol import ScoredStep
from ramify.search.budget import Budget
from ramify.search.registry import strategy_names
from ramify.viewer import page

from .admission import Admission
from .api_errors import ApiError, api_error, bad_request, json_response
from .completions import Completion, CompletionResponse, WatchResponse, problem_of
from .config import Caller, Preset, ServerConfig
from .gate import CALLER, NOTES, Gate
from .messages import (
    ChatRequest,
    ScoreRequest,
    SteerExpansion,
    SteerNode,
    check_supported,
    read_body,
)
from .metrics import CONTENT_TYPE, Metrics
from .runs import ServedRun, ServedRuns
from .search_settings import limited, plan_run, read_budget

B = TypeVar("B", bound=BaseModel)
RUNS = "/v1/ramify/runs"
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of the page; no other page may show it inside a frame, where a user could be led to click in it."""
MOST_SCORED = 256
"""Highest number of paths in a request for scores."""


class Service:
    """The routes of a server and their shared state: `engine`, `admission`, `runs` and `metrics`."""

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self.engine = engine
        self.config = config
        self.admission = Admission(config.max_runs, config.max_queued)
        self.runs = ServedRuns(config.kept_runs, config.kept_bytes)
        self.metrics = Metrics(engine, self.admission)
        self._begun = int(time.time())

    @property
    def model_name(self) -> str:
        """Name of the model for clients."""
        return self.config.model_name or self.engine.policy.name

    def app(self) -> ASGIApp:
        """Return the application."""
        # The pages of the documentation would load scripts from elsewhere.
        app = FastAPI(title="ramify", docs_url=None, redoc_url=None)
        add = app.add_api_route
        add("/", self.show_page, methods=["GET"], include_in_schema=False)
        add("/health", self.health, methods=["GET"])
        add("/health", self.health, methods=["HEAD"], include_in_schema=False)
        add("/metrics", self.show_metrics, methods=["GET"])
        add("/v1/models", self.list_models, methods=["GET"])
        add("/v1/models/{name:path}", self.show_model, methods=["GET"])
        add("/v1/chat/completions", self.complete, methods=["POST"], openapi_extra=_body_of(ChatRequest))
        add("/v1/ramify/score", self.score, methods=["POST"], openapi_extra=_body_of(ScoreRequest))
        add(RUNS, self.list_runs, methods=["GET"])
        add(f"{RUNS}/{{run_id}}", self.show_run, methods=["GET"])
        add(f"{RUNS}/{{run_id}}/events", self.watch_run, methods=["GET"])
        add(f"{RUNS}/{{run_id}}/stop", self.stop_run, methods=["POST"])
        add(f"{RUNS}/{{run_id}}/budget", self.change_budget, methods=["POST"])
        add(f"{RUNS}/{{run_id}}/prune", self.prune, methods=["POST"], openapi_extra=_body_of(SteerNode))
        add(f"{RUNS}/{{run_id}}/expand", self.expand, methods=["POST"], openapi_extra=_body_of(SteerExpansion))
        add(f"{RUNS}/{{run_id}}/pin", self.pin, methods=["POST"], openapi_extra=_body_of(SteerNode))
        app.add_exception_handler(ApiError, _answer_error)
        app.add_exception_handler(RamifyError, _answer_error)
        app.add_exception_handler(HTTPException, _answer_http_error)
        return Gate(app, self.config, self.metrics.answered)

    # The server itself

    async def show_page(self) -> Response:
        """Return the page for browsers; it holds nothing of any run, but asks for them with the key of its user."""
        return Response(page(strategies=strategy_names()), media_type="text/html", headers=PAGE_HEADERS)

    async def health(self) -> Response:
        """Tell whether the server takes requests."""
        if self.admission.closed:
            return json_response({"status": "ending"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return json_response({"status": "ok", "running": self.admission.running, "queued": self.admission.queued})

    async def show_metrics(self) -> Response:
        """Return the metrics in the form of Prometheus."""
        return Response(await self.metrics.text(), media_type=CONTENT_TYPE)

    async def list_models(self) -> Response:
        """Return the model, and the model with each preset."""
        names = [self.model_name, *(f"{self.model_name}@{preset}" for preset in self.config.presets)]
        return json_response({"object": "list", "data": [self._model(name) for name in names]})

    async def show_model(self, name: str) -> Response:
        """Return one of the models."""
        self._preset(name)
        return json_response(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        engine = self.engine
        return {
            "id": name,
            "object": "model",
            "created": self._begun,
            "owned_by": "ramify",
            "parameters": engine.policy.parameters,
            "context_tokens": engine.policy.context_tokens,
            "reward": None if engine.reward is None else engine.reward.name,
        }

    def _preset(self, name: str) -> Preset | None:
        """Return the preset that a model's name has, None if it has none.

        Raises:
            ApiError: if there is no such model or preset.
        """
        if name == self.model_name:
            return None
        model, _, preset = name.rpartition("@")
        if model == self.model_name and preset in self.config.presets:
            return self.config.presets[preset]
        known = ", ".join((self.model_name, *(f"{self.model_name}@{each}" for each in self.config.presets)))
        raise ApiError(
            HTTPStatus.NOT_FOUND,
            f"there is no model {name[:200]!r}; this server has {known}",
            param="model",
            code="model_not_found",
        )

    # Searches

    async def complete(self, request: Request) -> Response:
        """Search, and answer in the form of a chat completion."""
        body = await _read(ChatRequest, request)
        check_supported(body)
        preset = self._preset(body.model)
        problem = problem_of(body.messages)
        caller = _caller(request)
        plan = plan_run(body, request.headers, engine=self.engine, config=self.config, preset=preset, caller=caller)
        self.admission.check(caller)
        served = self.runs.add(
            owner=caller.name, model=body.model, question=problem.question, strategy=plan.strategy, budget=plan.budget
        )
        return CompletionResponse(
            Completion(request=body, served=served, problem=problem, plan=plan, caller=caller),
            engine=self.engine,
            admission=self.admission,
            runs=self.runs,
            metrics=self.metrics,
            notes=request.scope[NOTES],
        )

    async def score(self, request: Request) -> Response:
        """Score the steps of a path: each with the steps before it, as a search would."""
        body = await _read(ScoreRequest, request)
        paths = _paths(body)
        if body.model is not None:
            self._preset(body.model)
        reward = self.engine.reward
        if reward is None:
            raise bad_request("this server has no reward model", "model", "no_reward_model")
        if not body.question.strip():
            raise bad_request("question: it is empty", "question")
        async with self.admission.turn(_caller(request)):
            try:
                session = await reward.open(body.question)
                try:
                    nodes, ends = _nodes(paths)
                    values = await session.score(nodes)
                    used = session.usage
                finally:
                    await session.close()
            except RamifyError as error:
                raise api_error(error, "steps") from None
        scores = [[values[node] for node in path] for path in ends]
        return json_response(
            {
                "object": "ramify.scores",
                "model": reward.name,
                "scores": scores if body.steps is None else scores[0],
                "usage": {
                    "prompt_tokens": used.evaluated_tokens,
                    "completion_tokens": used.generated_tokens,
                    "total_tokens": used.evaluated_tokens + used.generated_tokens,
                },
            }
        )

    # Runs

    async def list_runs(self, request: Request) -> Response:
        """Return the caller's runs, the newest first, without their trees."""
        owner = _caller(request).name
        data = [served.to_dict() for served in self.runs if served.owner == owner]
        return json_response({"object": "list", "data": data})

    async def show_run(self, run_id: str, request: Request) -> Response:
        """Return a run with its tree."""
        return json_response(self._run(run_id, request).to_dict(tree=True))

    async def watch_run(self, run_id: str, request: Request) -> Response:
        """Return the state of a run and its further events, as server-sent events."""
        return WatchResponse(self._run(run_id, request))

    async def stop_run(self, run_id: str, request: Request) -> Response:
        """End a run softly: its client gets the best answer so far."""
        served = self._run(run_id, request)
        served.live.stop()
        return json_response(served.to_dict())

    async def change_budget(self, run_id: str, request: Request) -> Response:
        """Change limits of a run; those that are not given stay, and null takes one away."""
        served = self._run(run_id, request)
        asked = read_budget(await _json(request))
        run = served.live
        budget = limited(Budget(**(run.budget.to_dict() | asked)), _caller(request), asked=asked)
        run.set_budget(budget)
        served.budget = budget
        return json_response(served.to_dict())

    async def prune(self, run_id: str, request: Request) -> Response:
        """Prune a node and all below it."""
        served = self._run(run_id, request)
        body = await _read(SteerNode, request)
        if body.node is None:
            raise bad_request("node: name a node", "node")
        served.live.prune(body.node)
        return json_response(served.to_dict())

    async def expand(self, run_id: str, request: Request) -> Response:
        """Have more children of an open node written."""
        served = self._run(run_id, request)
        body = await _read(SteerExpansion, request)
        served.live.expand(body.node, body.children)
        return json_response(served.to_dict())

    async def pin(self, run_id: str, request: Request) -> Response:
        """Make a finished path's answer the result; null leaves it to the vote again."""
        served = self._run(run_id, request)
        body = await _read(SteerNode, request)
        served.live.pin(body.node)
        return json_response(served.to_dict())

    def _run(self, run_id: str, request: Request) -> ServedRun:
        return self.runs.find(run_id, _caller(request).name)


def _caller(request: Request) -> Caller:
    return request.scope[CALLER]


async def _json(request: Request) -> Any:
    try:
        return read_json(await request.body())
    except MalformedText as error:
        raise bad_request(f"the body: {error}") from None


async def _read(kind: type[B], request: Request) -> B:
    return read_body(kind, await _json(request))


def _paths(body: ScoreRequest) -> Sequence[Sequence[str]]:
    if (body.steps is None) == (body.paths is None):
        raise bad_request("give the steps of one path as steps, or several paths as paths", "steps")
    if body.steps is not None:
        named = [("steps", body.steps)]
    else:
        named = [(f"paths.{number}", path) for number, path in enumerate(body.paths or [])]
        if not named or len(named) > MOST_SCORED:
            raise bad_request(f"paths: give 1 to {MOST_SCORED} of them", "paths")
    for name, path in named:
        if not path:
            raise bad_request(f"{name}: give 1 step or more", name)
        empty = next((number for number, step in enumerate(path) if not step), None)
        if empty is not None:
            raise bad_request(f"{name}.{empty}: the step is empty", f"{name}.{empty}")
    return [path for _, path in named]


def _nodes(paths: Sequence[Sequence[str]]) -> tuple[list[ScoredStep], list[list[int]]]:
    """Return the steps of all paths as nodes of one tree, each once, and the nodes of each path."""
    known = dict[tuple[str, ...], int]()
    nodes, ends = list[ScoredStep](), list[list[int]]()
    for path in paths:
        parent: int | None = None
        line = list[int]()
        for length in range(1, len(path) + 1):
            steps = tuple(path[:length])
            if steps not in known:
                known[steps] = len(nodes)
                nodes.append(ScoredStep(node=len(nodes), parent=parent, path=steps))
            parent = known[steps]
            line.append(parent)
        ends.append(line)
    return nodes, ends


def _body_of(kind: type[BaseModel]) -> dict[str, Any]:
    schema = kind.model_json_schema(ref_template=f"#/components/schemas/{kind.__name__}/$defs/{{model}}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _answer_error(request: Request, error: Exception) -> Response:
    found = api_error(error)
    if isinstance(error, TreeError):
        found.param = "node"
    return found.response()


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: {request.method} {request.url.path}"[:300]
    return ApiError(error.status_code, message, headers=error.headers).response()
