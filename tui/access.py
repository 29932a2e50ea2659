"""From any part of the screen to the program that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from textual.message_pump import MessagePump

    from .app import RamifyApp


def app_of(part: MessagePump) -> RamifyApp:
    """Return the program; Textual does not know its type."""
    return cast("RamifyApp", part.app)  # pyright: ignore[reportUnknownMemberType]
