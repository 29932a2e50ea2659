"""The options that name a second model for the questions on which the first is not sure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .values import Share

if TYPE_CHECKING:
    from ramify.engine.ensembles.fallback import Fallback

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--fallback", metavar="MODEL", help="Model to ask where --model is not sure: name, path or openai:URL#MODEL."
    ),
    click.option(
        "--fallback-confidence",
        type=Share(min=0, max=1, min_open=True),
        help="How sure --model has to be of its answer.  [default: 0.95]",
    ),
)


def fallback_options(command: Decorated) -> Decorated:
    """Add the options; the command takes them as keyword arguments for `fallback_from`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def fallback_from(options: dict[str, Any]) -> Fallback | None:
    """Return the second model that the options name, None for none.

    Raises:
        UsageError: if there is a confidence without a model, or no model of that name.
        ModelLoadError: if the model is no file that is there.
    """
    from ramify.engine.ensembles.fallback import Fallback
    from ramify.engine.library.catalog import resolve_model
    from ramify.engine.policy.remote.address import is_remote, parse_address

    model, confidence = options["fallback"], options["fallback_confidence"]
    if model is None:
        if confidence is not None:
            raise UsageError("--fallback-confidence is given and there is no model to fall back on", "add --fallback")
        return None
    if is_remote(model):
        parse_address(model)
    else:
        resolve_model(model)
    return Fallback(model=model) if confidence is None else Fallback(model=model, confidence=confidence)
