"""MCP server: `solve` as a tool for programs that speak the Model Context Protocol over stdin and stdout."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

import ramify
from ramify.engine.engine import Engine
from ramify.errors import RamifyError
from ramify.event_loop import start_task
from ramify.solution import Solution

from .admission import Admission
from .api_errors import ApiError
from .completions import Completion, problem_of, standing
from .config import ANYONE, Caller, ServerConfig
from .messages import ChatRequest, Scalar, read_body
from .runs import RunStatus, ServedRun, posterior, votes_of
from .search_settings import plan_run

PROGRESS_S = 0.5
"""Time between two notes on the progress of a search."""
INSTRUCTIONS = (
    "solve searches for the answer to a question by writing many solutions step by step and voting among them. It pays "
    "for questions of arithmetic and reasoning with one short answer. Limit the time with max_seconds."
)


class Vote(BaseModel):
    """An answer, and the number and the weight of the paths that ended with it."""

    answer: str
    votes: int
    weight: float


class Found(BaseModel):
    """Result of a search.

    `answer` is None if no path ended with one; then `text` is the path that came furthest. `posterior` is how probable
    the answer is by the votes, None for answers that do not vote.
    """

    answer: str | None
    text: str
    posterior: float | None
    stop_reason: str
    votes: list[Vote]
    strategy: str
    seed: int
    generated_tokens: int
    seconds: float


class SolveTool:
    """The tool `solve` over an engine; `config` has its defaults and the number of searches at a time."""

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine = engine
        self._config = config
        self._admission = Admission(config.max_runs, config.max_queued)

    def server(self) -> MCPServer:
        """Return the server that offers the tool."""
        server = MCPServer("ramify", instructions=INSTRUCTIONS, version=ramify.__version__, log_level="WARNING")
        server.tool()(self.solve)
        return server

    async def solve(
        self,
        ctx: Context[Any],
        question: Annotated[str, Field(min_length=1, description="The question, with all that it needs.")],
        max_seconds: Annotated[float | None, Field(gt=0, description="Longest time of the search.")] = None,
        max_generated_tokens: Annotated[int | None, Field(gt=0, description="Most tokens that it may write.")] = None,
        width: Annotated[int | None, Field(gt=0, description="Number of solutions that are written.")] = None,
        strategy: Annotated[
            str | None, Field(description="How to search, such as rebase, majority, beam, mcts or greedy.")
        ] = None,
        seed: Annotated[int | None, Field(description="Fixes all sampling.")] = None,
        system: Annotated[str | None, Field(description="A system message for the model.")] = None,
        settings: Annotated[
            dict[str, Scalar] | None, Field(description="Further settings of the search by their keys.")
        ] = None,
    ) -> Found:
        """Search for the answer to a question within a budget, and return it with its votes."""
        named = {
            "max_seconds": max_seconds,
            "max_generated_tokens": max_generated_tokens,
            "width": width,
            "strategy": strategy,
            "seed": seed,
        }
        given = {key: value for key, value in named.items() if value is not None}
        if twice := given.keys() & (settings or {}).keys():
            raise ToolError(f"{min(twice)} is given twice, by itself and in settings")
        try:
            completion = self._completion(question, system, {**(settings or {}), **given})
            return found(completion.served, await self._search(completion, ctx))
        except (ApiError, RamifyError) as error:
            raise ToolError(str(error)) from None

    def _completion(self, question: str, system: str | None, settings: dict[str, Scalar]) -> Completion:
        messages = [{"role": "user", "content": question}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        model = self._engine.policy.name
        request = read_body(ChatRequest, {"model": model, "messages": messages, "ramify": settings})
        problem = problem_of(request.messages)
        caller = Caller(name=ANYONE)
        plan = plan_run(request, {}, engine=self._engine, config=self._config, preset=None, caller=caller)
        served = ServedRun(
            id="", owner=caller.name, model=model, question=question, strategy=plan.strategy, budget=plan.budget
        )
        return Completion(request=request, served=served, problem=problem, plan=plan, caller=caller)

    async def _search(self, completion: Completion, ctx: Context[Any]) -> Solution:
        """Search, and tell the client how the search stands meanwhile; a client that cancels the call ends it."""
        outcome: list[Solution | ApiError | RamifyError] = []
        async with anyio.create_task_group() as tasks:
            start_task(tasks, _report, completion.served, ctx)
            try:
                outcome.append(await completion.search(self._engine, self._admission))
            except (ApiError, RamifyError) as error:
                # Raised below, so that it does not come in a group.
                outcome.append(error)
            tasks.cancel_scope.cancel()
        if isinstance(outcome[0], Solution):
            return outcome[0]
        raise outcome[0]


async def _report(served: ServedRun, ctx: Context[Any]) -> None:
    while True:
        await anyio.sleep(PROGRESS_S)
        if served.status is RunStatus.RUNNING and served.fraction is not None:
            await ctx.report_progress(served.fraction, 1.0, standing(served).strip())


def found(served: ServedRun, solution: Solution) -> Found:
    """Return the result of a search for the client."""
    return Found(
        answer=solution.answer,
        text=solution.text,
        posterior=posterior(served.vote),
        stop_reason=str(solution.stop_reason),
        votes=[Vote(**each) for each in votes_of(served.vote)],
        strategy=str(solution.strategy.get("name", served.strategy.name)),
        seed=solution.seed,
        generated_tokens=solution.usage.policy.generated_tokens,
        seconds=solution.usage.seconds,
    )


async def serve_stdio(engine: Engine, config: ServerConfig) -> None:
    """Serve the tool over stdin and stdout until stdin ends."""
    await SolveTool(engine, config).server().run_stdio_async()
