"""One HTTP request at a time, in a thread, on a connection of its own that can be cut from outside.

The standard library's client: certificates are checked, redirects are not followed (they would carry the key along),
and proxies are taken from the environment.
"""

from __future__ import annotations

import base64
import codecs
import http.client
import json
import math
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import anyio
from anyio import to_thread

from .address import is_local
from .keys import ApiKey

LARGEST_REPLY = 1 << 26
"""Bytes after which a reply is given up."""

_SHOWN = 300
"""Characters of a server's own message that errors repeat."""


class HttpError(Exception):
    """Raised when a request got no good reply."""


class Refused(HttpError):
    """Raised when a server answers with an error.

    `message` is what it says, without the key. `retry_after_s` is how long it asks to wait, None if it does not say.
    """

    def __init__(self, code: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code} {message}".strip())
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Unreachable(HttpError):
    """Raised when a server cannot be reached, breaks off, is silent for too long or answers with something else."""


class Untrusted(HttpError):
    """Raised when a server's certificate is not valid."""


class Transport:
    """How one server is reached: its base address, the key (None without), and how long it may take, in seconds.

    The number of requests in flight is for the caller to bound; each has a thread.
    """

    def __init__(self, *, url: str, key: ApiKey | None, connect_s: float, silence_s: float) -> None:
        self.url = url
        self.key = key
        self.connect_s = connect_s
        self.silence_s = silence_s
        self._limiter = anyio.CapacityLimiter(math.inf)

    async def request(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        take: Callable[[bytes], bool] | None = None,
    ) -> bytes | None:
        """Send a request and return the reply's body; without a `body` it is a GET.

        With `take`, an event stream is handed over line by line, in another thread, until that returns False or the
        stream ends, and None is returned. Cancelling cuts the connection.

        Raises:
            HttpError: if there is no good reply.
        """
        exchange = _Exchange(self, path, body, take)
        try:
            return await to_thread.run_sync(exchange.run, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            exchange.cut()


class _Exchange:
    """One request and its reply."""

    def __init__(
        self, transport: Transport, path: str, body: Mapping[str, Any] | None, take: Callable[[bytes], bool] | None
    ) -> None:
        self._transport = transport
        self._path = path
        self._body = None if body is None else json.dumps(body).encode()
        self._take = take
        self._socket: socket.socket | None = None
        self._is_cut = False

    def cut(self) -> None:
        """Break the connection, from whatever thread."""
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                # Not the method of an encrypted socket, which would take its state away under the reading thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def run(self) -> bytes | None:
        """Do it all; blocks."""
        connection, target = _connection(self._transport, self._path)
        try:
            connection.connect()
            self._socket = connection.sock
            if self._is_cut:
                raise Unreachable("the request was given up")
            connection.sock.settimeout(self._transport.silence_s)
            connection.request("GET" if self._body is None else "POST", target, self._body, self._headers())
            with connection.getresponse() as response:
                return self._read(response)
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(error.verify_message) from None
        except TimeoutError:
            raise Unreachable("it does not answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError comes from reading what `cut` has closed.
            raise Unreachable(_words(error)) from None
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json, text/event-stream", "Connection": "close", "User-Agent": "ramify"}
        if self._body is not None:
            headers["Content-Type"] = "application/json"
        if self._transport.key is not None:
            headers["Authorization"] = self._transport.key.header
        return headers

    def _read(self, response: http.client.HTTPResponse) -> bytes | None:
        if response.status != 200:
            message = _server_message(self._hide(response.read(1 << 16)), response.reason)
            raise Refused(response.status, message, _seconds(response.getheader("Retry-After")))
        if self._take is None or "event-stream" not in (response.getheader("Content-Type") or "").lower():
            data = response.read(LARGEST_REPLY)
            if len(data) == LARGEST_REPLY:
                raise Unreachable("its reply is too long")
            return self._hide(data.removeprefix(codecs.BOM_UTF8))
        line = response.readline(LARGEST_REPLY).removeprefix(codecs.BOM_UTF8)
        while line and self._take(self._hide(line)):
            line = response.readline(LARGEST_REPLY)
        return None

    def _hide(self, data: bytes) -> bytes:
        return data if self._transport.key is None else self._transport.key.hide(data)


def _connection(transport: Transport, path: str) -> tuple[http.client.HTTPConnection, str]:
    """Return an unopened connection, through a proxy if the environment says so, and what to ask for on it."""
    parts = urlsplit(transport.url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    kind: Callable[..., http.client.HTTPConnection] = _secure_connection if secure else http.client.HTTPConnection
    target = parts.path + path
    direct = is_local(host) or urllib.request.proxy_bypass(host)
    proxy = None if direct else urllib.request.getproxies().get(parts.scheme)
    if proxy is None:
        return kind(host, parts.port, timeout=transport.connect_s), target
    through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    connection = kind(through.hostname or "", through.port or 80, timeout=transport.connect_s)
    if not secure:
        return connection, f"{transport.url}{path}"
    headers = dict[str, str]()
    if through.username is not None:
        pair = f"{unquote(through.username)}:{unquote(through.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    connection.set_tunnel(host, parts.port or 443, headers)
    return connection, target


def _secure_connection(host: str, port: int | None, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())


def in_words(said: Any) -> str:
    """Return what a server says about an error, from JSON or text, in one short line; "" if it says nothing."""
    for name in ("error", "message", "detail"):
        if isinstance(said, dict):
            said = cast("dict[str, Any]", said).get(name, cast("dict[str, Any]", said))
    line = " ".join((said if isinstance(said, str) else json.dumps(said)).split())
    return "" if line.startswith("<") or line in ("{}", "null") else line[:_SHOWN]


def _server_message(data: bytes, reason: str) -> str:
    text = data.decode("utf-8", "replace")
    try:
        return in_words(json.loads(text)) or reason
    except ValueError:
        return in_words(text) or reason


def _seconds(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, a number or a date; None if it cannot be read."""
    if text is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _words(error: Exception) -> str:
    if isinstance(error, http.client.HTTPException):
        return "it broke off"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return "it broke off"
