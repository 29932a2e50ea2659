"""`ramify mcp`: a server of the Model Context Protocol over stdin and stdout, with searches as a tool."""

from __future__ import annotations

from typing import Any

import click

from ..errors import UsageError
from .config import without_unfit_defaults
from .help import GroupedCommand
from .options import SearchPlan, search_options
from .serve import bounded, search_defaults

EXTRA = "pip install 'ramify[mcp]'"


@click.command(
    cls=GroupedCommand,
    example="ramify mcp -m FILE.gguf --max-seconds 60s",
    epilog="Options of the search are the defaults for calls of the tool; a call that names a limit has no other. "
    "docs/howto/server.md has the settings of some clients.",
)
@click.option("--max-runs", type=bounded(1, 4096), default=4, help="Searches that run at a time.  [default: 4]")
@search_options
def mcp(max_runs: int, **options: Any) -> None:
    """Offer searches to programs that speak MCP, by the tool `solve` over stdin and stdout."""
    options = without_unfit_defaults(options)
    plan = SearchPlan.from_options(options)
    try:
        from ramify.server.config import ServerConfig
        from ramify.server.mcp_server import serve_stdio
    except ImportError as error:
        raise UsageError(f"the server needs the package {error.name}", EXTRA) from None
    config = ServerConfig(max_runs=max_runs, max_queued=1 << 20, **search_defaults(options))

    import anyio

    from ramify.engine.engine import Engine

    async def run() -> None:
        async with Engine(plan.model, plan.reward, profile=plan.profile, **plan.engine_options) as engine:
            await serve_stdio(engine, config)

    anyio.run(run)
