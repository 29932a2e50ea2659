"""A running server: its socket, its signals and its end."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TextIO

import anyio
import uvicorn

from ramify.engine.engine import Engine
from ramify.errors import UsageError
from ramify.event_loop import start_task

from .app import Service
from .config import ServerConfig
from .gate import JsonLines

log = logging.getLogger("ramify.server")

LAST_S = 5.0
"""Time after the grace in which stopped searches hand in their best answer."""
STOP_AGAIN_S = 0.25
"""Time in seconds between two calls to stop the runs that go on after the grace."""
BACKLOG = 1024


def bind(config: ServerConfig) -> socket.socket:
    """Return a socket at the address of a server, before anything is loaded for it.

    Raises:
        UsageError: if the address is unknown or taken.
    """
    place = f"{config.host}:{config.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(f"{place} is no address of this machine ({error})", "use another --host or --port") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        bound.close()
        raise UsageError(f"{place} cannot be used ({error})", "use another --host or --port") from None
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the address of a bound socket as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Uvicorn(uvicorn.Server):
    """uvicorn whose end is asked for by `should_exit`, and which leaves signals alone.

    `on_ready` is called when it listens.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none: `serve` has handlers of its own."""
        yield


async def serve(
    engine: Engine,
    config: ServerConfig,
    bound: socket.socket,
    *,
    on_ready: Callable[[], None] = lambda: None,
    end: anyio.Event | None = None,
) -> signal.Signals | None:
    """Serve until a signal comes or `end` is set, and return the signal, None for `end`.

    SIGTERM and SIGINT end the server: it takes no new requests, those in progress have the grace of the configuration,
    and a run that has not ended by then is answered with its best so far. A second signal cancels the rest.

    Raises:
        UsageError: if the socket cannot be used.
    """
    service = Service(engine, config)
    settings = uvicorn.Config(
        service.app(),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(config.grace_s + LAST_S) + 1,
    )
    server = _Uvicorn(settings, on_ready)
    received: list[signal.Signals] = []
    async with anyio.create_task_group() as tasks:
        start_task(tasks, _serve, server, bound, tasks.cancel_scope)
        start_task(tasks, _wait_for_end, service, server, received, end or anyio.Event())
    return received[0] if received else None


async def _serve(server: uvicorn.Server, bound: socket.socket, scope: anyio.CancelScope) -> None:
    await server.serve(sockets=[bound])
    scope.cancel()


async def _wait_for_end(
    service: Service, server: uvicorn.Server, received: list[signal.Signals], end: anyio.Event
) -> None:
    async with anyio.create_task_group() as tasks:
        start_task(tasks, _note_signals, server, received, end)
        await end.wait()
        log.info("ending: %d requests run, %d wait", service.admission.running, service.admission.queued)
        service.admission.close()
        # Connections that do nothing are closed; those with a request are served to its end.
        server.should_exit = True
        await anyio.sleep(service.config.grace_s)
        service.admission.refuse_waiting()
        while True:
            # Again and again, for those that had their turn but had not begun.
            for served in service.runs.active:
                if served.run is not None:
                    served.run.stop()
            await anyio.sleep(STOP_AGAIN_S)


async def _note_signals(server: uvicorn.Server, received: list[signal.Signals], end: anyio.Event) -> None:
    with suppress(ValueError), anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for each in signals:
            received.append(each)
            if end.is_set():
                server.force_exit = True
            end.set()


def start_logging(*, as_json: bool, stream: TextIO | None = None) -> None:
    """Write the server's log to a stream, stderr by default, one line a record."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("ramify", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO if name == "ramify" else logging.WARNING)
        logger.propagate = False
