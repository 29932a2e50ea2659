"""Addresses of remote models, `openai:URL#MODEL` or `openai:URL1,URL2#MODEL`, and the API key of their servers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from ramify.errors import UsageError

PREFIX = "openai:"
"""Prefix of the name of a remote model."""

FORM = "openai:http://HOST:PORT/v1#MODEL"

KEY_VARIABLES = ("RAMIFY_API_KEY", "OPENAI_API_KEY")
"""Environment variables of the key; the first that is set is used."""

HIDDEN = "***"
"""Replacement of the key in texts from a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAddress:
    """Base addresses of the servers of one model, such as http://localhost:8000/v1, and the model's name there."""

    urls: tuple[str, ...]
    model: str

    def __str__(self) -> str:
        return f"{PREFIX}{','.join(self.urls)}#{self.model}"


def is_remote(name: object) -> bool:
    """Return whether a model's name is the address of a remote model."""
    return isinstance(name, str) and name.startswith(PREFIX)


def parse_address(text: str, fault: str = "is no complete address of a remote model") -> RemoteAddress:
    """Return the parsed address; `fault` is the predicate of the error message for a text that is none.

    Raises:
        UsageError: if `text` is not of the form `openai:URL#MODEL`, or a URL holds a password or parameters.
    """
    urls, mark, model = text.strip().removeprefix(PREFIX).rpartition("#")
    each = tuple(url.strip().rstrip("/") for url in urls.split(","))
    if not mark or not model or not all(map(_complete, each)):
        raise UsageError(f"{_shown(text)} {fault}", f"write it as {FORM}")
    for url in each:
        _refuse_secrets(urlsplit(url))
    return RemoteAddress(urls=tuple(dict.fromkeys(each)), model=model)


def is_local(host: str) -> bool:
    """Return whether a host is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


LEAST_SECRET = 16
"""Characters from which on a key is hidden in replies too, where no text of a model holds it by chance."""


class ApiKey:
    """A server's API key, which can be read only as a request header; it is not printed and cannot be pickled.

    Raises:
        UsageError: if the text holds characters that no key has; the message does not show it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str, source: str = "the key") -> None:
        text = text.strip()
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise UsageError(f"{source} holds characters that no key has", "set it again, without quotes or spaces")
        self._text = text

    def __repr__(self) -> str:
        return f"ApiKey({HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not saved")

    @property
    def header(self) -> str:
        """The value of the header Authorization."""
        return f"Bearer {self._text}"

    @property
    def is_secret(self) -> bool:
        """True for a key that is long enough to be one; "test" or "none" for a local server also occur in texts."""
        return len(self._text) >= LEAST_SECRET

    def hide(self, data: bytes) -> bytes:
        """Return bytes from a server with the key replaced."""
        return data.replace(self._text.encode(), HIDDEN.encode())


def key_from_environment() -> ApiKey | None:
    """Return the key of the first of KEY_VARIABLES that is set, None without one.

    Raises:
        UsageError: if it cannot be a key.
    """
    for name in KEY_VARIABLES:
        text = os.environ.get(name, "").strip()
        if text:
            return ApiKey(text, f"the environment variable {name}")
    return None


def check_sendable(key: ApiKey | None, url: str) -> None:
    """Check that a key is sent to a server only over https, or to this machine; `key` None passes.

    Raises:
        UsageError: if the key would cross a network unencrypted.
    """
    if key is not None:
        check_encrypted("the key", url, KEY_VARIABLES)


def check_encrypted(secret: str, url: str, variables: Sequence[str]) -> None:
    """Check that an address is one of https, or of this machine; `variables` are those that set the secret.

    Raises:
        UsageError: if the secret would cross a network unencrypted.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not is_local(host):
        raise UsageError(
            f"{secret} would go to {host} unencrypted", f"use an https:// address, or unset {' and '.join(variables)}"
        )


def _shown(text: str) -> str:
    """Return a wrong address for an error message, "this" if it may hold a password."""
    return "this" if any(sign in text for sign in "@?") else repr(text)


def _complete(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _refuse_secrets(parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None or parts.query:
        raise UsageError(
            f"the address of the server {parts.hostname} holds a user name, a password or parameters, which would be "
            "saved with the results",
            "put the key into the environment variable OPENAI_API_KEY",
        )
