"""Where a remote model is: `openai:URL#MODEL`, or `openai:URL1,URL2#MODEL` for several servers of one model."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from ramify.errors import UsageError

PREFIX = "openai:"
"""What the name of a remote model starts with."""

FORM = "openai:http://HOST:PORT/v1#MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAddress:
    """Base addresses of the servers, such as http://localhost:8000/v1, and the model's name there."""

    urls: tuple[str, ...]
    model: str

    def __str__(self) -> str:
        return f"{PREFIX}{','.join(self.urls)}#{self.model}"


def is_remote(name: object) -> bool:
    """Return whether a model's name is an address."""
    return isinstance(name, str) and name.startswith(PREFIX)


def parse_address(text: str, fault: str = "is no complete address of a remote model") -> RemoteAddress:
    """Return the address that `text` writes out; `fault` says in words what it is if it is none.

    Raises:
        UsageError: if it is not of this form, or an address holds a password or other parameters.
    """
    urls, mark, model = text.strip().removeprefix(PREFIX).rpartition("#")
    each = tuple(url.strip().rstrip("/") for url in urls.split(","))
    if not mark or not model or not all(map(_complete, each)):
        raise UsageError(f"{_shown(text)} {fault}", f"write it as {FORM}")
    for url in each:
        _refuse_secrets(urlsplit(url))
    return RemoteAddress(urls=tuple(dict.fromkeys(each)), model=model)


def is_local(host: str) -> bool:
    """Return whether a host is this machine, so that nothing sent to it leaves it."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(text: str) -> str:
    """Return a wrong address for an error, unless it may hold a password."""
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
