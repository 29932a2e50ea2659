"""The key of a server: from the environment into the request's header, and nowhere else."""

from __future__ import annotations

import os
from typing import NoReturn
from urllib.parse import urlsplit

from ramify.errors import UsageError

from .address import is_local

KEY_VARIABLES = ("RAMIFY_API_KEY", "OPENAI_API_KEY")
"""Environment variables with the key, the first that is set counts."""

HIDDEN = "***"


class ApiKey:
    """A key that shows itself only to the header of a request; it cannot be printed or pickled.

    Raises:
        UsageError: if the text cannot be a key; the message does not show it.
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

    def hide(self, data: bytes) -> bytes:
        """Return what a server sent without the key, should it repeat it."""
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
    """Check that a key can go to a server without others reading it.

    Raises:
        UsageError: if it would cross a network unencrypted.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if key is not None and parts.scheme != "https" and not is_local(host):
        raise UsageError(
            f"the key would go to {host} unencrypted",
            f"use an https:// address, or unset {' and '.join(KEY_VARIABLES)}",
        )
