"""A web application with an engine of its own and no server beside it: `uvicorn web_handler:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
from fastapi import FastAPI, HTTPException, Query

import ramify


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # The models are loaded once; all requests search with them, at most four at a time.
    async with ramify.Engine("demo-m") as engine:
        app.state.engine = engine
        app.state.turns = anyio.Semaphore(4)
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/answer")
async def answer(question: Annotated[str, Query(max_length=2000)]) -> dict[str, Any]:
    async with app.state.turns:
        try:
            solution = await app.state.engine.solve(question, budget=ramify.Budget(seconds=10))
        except ramify.UsageError as error:
            raise HTTPException(400, str(error)) from error
    return {"answer": solution.answer, "text": solution.text, "tokens": solution.usage.policy.generated_tokens}
