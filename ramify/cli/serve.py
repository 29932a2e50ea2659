"""`ramify serve`: a server over one model, which clients of the OpenAI API can use."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import SETTINGS
from ..errors import ExitCode, UsageError
from ..settings import DURATION, INTEGER, Setting
from . import terminal
from .config import given_presets, without_unfit_defaults
from .exits import Finished
from .help import GroupedCommand
from .option_types import SettingType
from .options import SearchPlan, search_options

if TYPE_CHECKING:
    from socket import socket

    from ramify.server.config import Caller, ServerConfig

KEY_VARIABLE = "RAMIFY_SERVER_KEY"
"""Variable of the key of a server's clients; RAMIFY_API_KEY is the one that ramify shows to servers itself."""
EXTRA = "pip install 'ramify[serve]'"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def bounded(low: int, high: int | None = None) -> SettingType:
    """Return the type of a whole number within bounds."""
    return SettingType(Setting(kind=INTEGER, low=low, high=high))


@click.command(
    cls=GroupedCommand,
    example="ramify serve -m FILE.gguf --port 8642",
    epilog="Options of the search are the defaults for requests; a request may ask for others in its field `ramify`, "
    "in headers such as X-Ramify-Budget-Seconds, or by the name of a preset (MODEL@PRESET, from [presets.NAME] of the "
    "settings file). SIGTERM ends the server when its requests have ended, within --grace. See docs/howto/server.md.",
)
@click.option("--host", default="127.0.0.1", help="Address to listen at.  [default: this machine alone]")
@click.option("--port", type=bounded(0, 65535), default=8642, help="Port; 0 takes a free one.  [default: 8642]")
@click.option(
    "--api-key",
    metavar="KEY",
    help=f"Key that clients have to show; better given as {KEY_VARIABLE}, which nobody sees.",
)
@click.option("--api-keys", type=_FILE, metavar="FILE", help="TOML file of several keys and the limits of each.")
@click.option("--open", "is_open", is_flag=True, help="Serve other machines without a key.")
@click.option("--name", default="", help="Name of the model for clients.  [default: its own]")
@click.option("--max-runs", type=bounded(1, 4096), default=4, help="Searches that run at a time.  [default: 4]")
@click.option("--max-queued", type=bounded(0, 1 << 20), default=64, help="Requests that wait.  [default: 64]")
@click.option(
    "--grace",
    type=SettingType(Setting(kind=DURATION)),
    default=30.0,
    help="Time that requests in progress get at the end, such as 30s.  [default: 30s]",
)
@click.option("--log-json", is_flag=True, help="Write the log as JSON, one object a line.")
@search_options
def serve(
    host: str,
    port: int,
    api_key: str | None,
    api_keys: Path | None,
    is_open: bool,
    name: str,
    max_runs: int,
    max_queued: int,
    grace: float,
    log_json: bool,
    **options: Any,
) -> None:
    """Serve a model to clients of the OpenAI API, each request a search under a budget."""
    options = without_unfit_defaults(options)
    plan = SearchPlan.from_options(options)
    try:
        from ramify.server.config import ServerConfig
        from ramify.server.service import bind, start_logging, url_of
    except ImportError as error:
        raise UsageError(f"the server needs the package {error.name}", EXTRA) from None
    config = ServerConfig(
        host=host,
        port=port,
        model_name=name,
        callers=_callers(api_key, api_keys),
        max_runs=max_runs,
        max_queued=max_queued,
        grace_s=grace,
        **search_defaults(options),
        presets=given_presets(),
    )
    if not config.is_local and config.is_open and not is_open:
        raise UsageError(f"anybody could use a server at {host}", "give it an --api-key, or say --open")
    bound = bind(config)
    with bound:
        start_logging(as_json=log_json)
        received = _serve(plan, config, bound, url_of(bound))
    if received is signal.SIGINT:
        raise Finished(ExitCode.INTERRUPTED)


def search_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of ServerConfig that options of a search give: the defaults for requests."""
    from ramify.server.search_settings import SEARCH_KEYS

    keys = [key for key in SETTINGS if key in SEARCH_KEYS - {"reward"} and options[key] is not None]
    return {"defaults": {key: options[key] for key in keys}, "strategy_options": dict(options["strategy_extras"])}


def _callers(key: str | None, file: Path | None) -> list[Caller]:
    from ramify.server.config import Caller, read_callers

    key = key or os.environ.get(KEY_VARIABLE) or None
    if key is not None and file is not None:
        raise UsageError("both a key and a file of keys are given", "use --api-key or --api-keys")
    if file is not None:
        return read_callers(file)
    return [] if key is None else [Caller.with_key("client", key)]


def _serve(plan: SearchPlan, config: ServerConfig, bound: socket, url: str) -> signal.Signals | None:
    import anyio

    from ramify.engine.engine import Engine
    from ramify.server.service import serve as serve_engine

    async def run() -> signal.Signals | None:
        async with Engine(plan.model, plan.reward, profile=plan.profile, **plan.engine_options) as engine:

            def ready() -> None:
                access = "without a key" if config.is_open else "with a key"
                terminal.say(f"{config.model_name or engine.policy.name} is served at {url}/v1 {access}")

            return await serve_engine(engine, config, bound, on_ready=ready)

    return anyio.run(run)
