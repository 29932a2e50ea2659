"""HTTP client of one server: a connection for each request, closed when the request is cancelled.

Certificates are checked, redirects are not followed (they would carry the key along), and proxies are taken from the
environment.
"""

from __future__ import annotations

import codecs
import json
import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import anyio

from ramify.json_text import read_json

from .address import ApiKey, is_local

if TYPE_CHECKING:
    import httpx2

LARGEST_REPLY = 1 << 26
"""Bytes of a reply, or of a line of an event stream, after which it is given up."""

_LARGEST_REFUSAL = 1 << 16
_SHOWN = 300
"""Characters of a server's own message that errors repeat."""


class HttpError(Exception):
    """Raised when a request got no usable reply."""


class Refused(HttpError):
    """Raised when a server answers with an HTTP error.

    `code` is the status, `message` the server's text without the key. `retry_after_s` is the wait in seconds that the
    server asks for, None if it asks for none.
    """

    def __init__(self, code: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code} {message}".strip())
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Unreachable(HttpError):
    """Raised when a server cannot be reached, closes the connection, exceeds a time limit or sends no valid reply."""


class Untrusted(HttpError):
    """Raised when a server's certificate is not valid."""


class Transport:
    """Client of one server: its base address, the key (None without), and time limits in seconds.

    `connect_s` limits connecting, `silence_s` how long the server may send nothing. The number of requests in flight
    is for the caller to bound.
    """

    def __init__(self, *, url: str, key: ApiKey | None, connect_s: float, silence_s: float) -> None:
        self.url = url
        self.key = key
        self.connect_s = connect_s
        self.silence_s = silence_s
        self._http: httpx2.AsyncHTTPTransport | None = None

    async def request(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        take: Callable[[bytes], bool] | None = None,
    ) -> bytes | None:
        """Send a request and return the reply's body; a POST of `body` as JSON, or a GET if `body` is None.

        With `take`, an event stream is passed to it line by line until it returns False or the stream ends, and None is
        returned. Cancelling closes the connection.

        Raises:
            HttpError: if there is no usable reply.
        """
        import httpx2

        if self._http is None:
            self._http = _new_transport(self.url)
        content = None if body is None else json.dumps(body).encode()
        request = httpx2.Request(
            "GET" if content is None else "POST",
            self.url + path,
            content=content,
            headers=self._headers(content),
            extensions={"timeout": httpx2.Timeout(self.silence_s, connect=self.connect_s, pool=None).as_dict()},
        )
        try:
            response = await self._http.handle_async_request(request)
            try:
                return await self._read(response, take)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except httpx2.TimeoutException:
            raise Unreachable("it does not answer in time") from None
        except (httpx2.HTTPError, OSError) as error:
            raise _failure(error) from None

    def _headers(self, content: bytes | None) -> dict[str, str]:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "ramify",
        }
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self.key is not None:
            headers["Authorization"] = self.key.header
        return headers

    async def _read(self, response: httpx2.Response, take: Callable[[bytes], bool] | None) -> bytes | None:
        data = bytearray()
        if response.status_code != 200:

            def start(chunk: bytes) -> bool:
                data.extend(chunk)
                return len(data) < _LARGEST_REFUSAL

            await _consume(response, start)
            message = _server_message(self._hidden(bytes(data)), response.reason_phrase)
            raise Refused(response.status_code, message, _seconds(response.headers.get("Retry-After")))

        def add(chunk: bytes) -> bool:
            data.extend(chunk)
            if len(data) >= LARGEST_REPLY:
                raise Unreachable("its reply is too long")
            return True

        if take is None or "event-stream" not in response.headers.get("Content-Type", "").lower():
            await _consume(response, add)
            return self._hide(bytes(data).removeprefix(codecs.BOM_UTF8))

        def split(chunk: bytes) -> bool:
            add(chunk)
            if b"\n" not in chunk:
                return True
            *lines, rest = bytes(data).split(b"\n")
            data[:] = rest
            return all(take(self._hide(line.removeprefix(codecs.BOM_UTF8))) for line in lines)

        if await _consume(response, split) and data:
            take(self._hide(bytes(data)))
        return None

    def _hidden(self, data: bytes) -> bytes:
        """Return what a server says of a failure, without the key."""
        return data if self.key is None else self.key.hide(data)

    def _hide(self, data: bytes) -> bytes:
        """Return a reply without the key, if that is no word of the reply by chance."""
        return data if self.key is None or not self.key.is_secret else self.key.hide(data)


def _new_transport(url: str) -> httpx2.AsyncHTTPTransport:
    """Return the layer below httpx2's clients, which keeps no cookies, follows no redirects and logs no requests."""
    import httpx2

    proxy = _proxy(url)
    secure = any(each.startswith("https:") for each in (url, proxy or ""))
    return httpx2.AsyncHTTPTransport(
        # Loading the certificates takes a while.
        verify=ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        proxy=proxy,
        trust_env=False,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
    )


def _proxy(url: str) -> str | None:
    """Return the address of the proxy that the environment names for a server, None for a direct connection."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_local(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return proxy if proxy is None or "//" in proxy else f"http://{proxy}"


async def _consume(response: httpx2.Response, use: Callable[[bytes], bool]) -> bool:
    """Pass the chunks of a body to `use` until it returns False or raises; return whether the body ended first."""
    failure: Exception | None = None
    with anyio.CancelScope() as scope:
        async for chunk in response.aiter_bytes():
            if scope.cancel_called:
                continue
            wanted = False
            try:
                wanted = use(chunk)
            except HttpError as error:
                failure = error
            if not wanted:
                # Leaving the loop would leave generators of httpx2 in the middle, at which trio warns.
                scope.cancel()
    if failure is not None:
        raise failure
    return not scope.cancel_called


def in_words(said: Any) -> str:
    """Return a server's error message, given as parsed JSON or as text, in one short line; "" if there is none."""
    for name in ("error", "message", "detail"):
        if isinstance(said, dict):
            said = cast("dict[str, Any]", said).get(name, cast("dict[str, Any]", said))
    line = " ".join((said if isinstance(said, str) else json.dumps(said)).split())
    return "" if line.startswith("<") or line in ("{}", "null") else line[:_SHOWN]


def _server_message(data: bytes, reason: str) -> str:
    text = data.decode("utf-8", "replace")
    try:
        return in_words(read_json(text, lenient=True)) or reason
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


def _failure(error: Exception) -> HttpError:
    """Return the fault of a connection, by the errors behind `error`."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(cause.verify_message)
        if isinstance(cause, OSError) and cause.errno is not None:
            # Event loops write texts of their own for the errors of the system.
            named = isinstance(cause, ssl.SSLError | socket.gaierror)
            text = (cause.strerror or "it broke off") if named else os.strerror(cause.errno)
            return Unreachable(text[:1].lower() + text[1:])
    return Unreachable("it broke off")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, those behind it, and the members of groups among them."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _causes(each)
    behind = error.__cause__ or error.__context__
    if behind is not None:
        yield from _causes(behind)
