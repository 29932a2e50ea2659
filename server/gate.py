"""Gate of a server: who may call, the size and kind of bodies, errors in the API's form, and a log line a request."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from .api_errors import ApiError, api_error
from .config import Caller, ServerConfig

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("ramify.server")

LARGEST_BODY = 4 << 20
"""Longest body of a request in bytes."""
WITHOUT_KEY = ("/health", "/")
"""Paths that tell nothing of anybody's requests; they need no key."""
CALLER = "ramify.caller"
NOTES = "ramify.notes"
"""Keys of the scope: the caller, and the further values of its log line."""
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class Gate:
    """Admits requests to an app; `answered` is told the route and the status of each.

    A server that everyone on the machine may call without a key is a target of web pages: these can send forms to it,
    and reach it under a name of their own. So bodies have to be declared as JSON, which no page may send to another
    site, and the name of the host has to be this machine's.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig, answered: Callable[[str, int], None]) -> None:
        self._app = app
        self._config = config
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = time.monotonic()
        notes: dict[str, Any] = {}
        scope[NOTES] = notes
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            try:
                self._admit(scope)
                await self._app(scope, _bounded(receive), counted)
            except ApiError as error:
                await error.response()(scope, receive, counted)
            except Exception as error:
                log.error("a request failed", exc_info=error)
                if status:
                    raise
                await api_error(error).response()(scope, receive, counted)
        finally:
            self._write_line(scope, status, time.monotonic() - begun_s, notes)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._config.is_local and self._config.is_open:
            host = (
                headers.get("host", "").rsplit(":", 1)[0]
                if not _ends_bare(headers.get("host", ""))
                else headers["host"]
            )
            if host.lower() not in (*_LOCAL_HOSTS, self._config.host.lower()):
                raise ApiError(HTTPStatus.FORBIDDEN, "the host is not this machine", code="wrong_host")
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json")
            length = headers.get("content-length", "0")
            if length.isdecimal() and int(length) > LARGEST_BODY:
                raise _too_large()
        if scope["path"] not in WITHOUT_KEY:
            scope[CALLER] = self._caller(headers)

    def _caller(self, headers: Headers) -> Caller:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        found = self._config.caller(key.strip() if scheme.lower() == "bearer" and key.strip() else None)
        if found is None:
            raise ApiError(
                HTTPStatus.UNAUTHORIZED,
                "the API key is missing or wrong; send it as Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return found

    def _write_line(self, scope: Scope, status: int, seconds: float, notes: dict[str, Any]) -> None:
        route = scope.get("route")
        # An unknown path is anything that somebody tries: it would be a metric of its own.
        # nginx writes 499 for a client that went away before there was a response.
        status = status or 499
        self._answered(getattr(route, "path", "unknown"), status)
        caller: Caller | None = scope.get(CALLER)
        line = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "client": (scope.get("client") or ("",))[0],
            "caller": None if caller is None else caller.name,
            **notes,
        }
        log.info("%s", RequestLine(line))


def _ends_bare(host: str) -> bool:
    """Tell whether a host has no port: an address of IPv6 ends in a bracket."""
    return host.endswith("]") or ":" not in host


def _bounded(receive: Receive) -> Receive:
    """Return a receiver that refuses bodies that turn out to be too long."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > LARGEST_BODY:
                raise _too_large()
        return message

    return bounded


def _too_large() -> ApiError:
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {LARGEST_BODY} bytes")


class RequestLine:
    """Log record of a request: a line for people by `str`, its values in `values`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __str__(self) -> str:
        head = "{method} {path} {status} {seconds} s".format_map(self.values)
        known = ("method", "path", "status", "seconds")
        rest = (f"{key}={value}" for key, value in self.values.items() if key not in known and value is not None)
        return " ".join((head, *rest))


class JsonLines(logging.Formatter):
    """Formatter that writes each record as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        values: dict[str, Any] = {"time": round(record.created, 3), "level": record.levelname.lower()}
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(first, RequestLine):
            values |= first.values
        else:
            values["message"] = record.getMessage()
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values)
