"""Reading specs: from JSON, from TOML, and from the metadata of a model file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ramify.errors import RewardSpecError

from .other_specs import ImplicitSpec, VerifierSpec
from .spec import RewardSpec

METADATA_KEY = "ramify.reward.spec"
"""GGUF metadata key under which a model file carries its own spec as JSON."""

Spec = TypeVar("Spec")

AnySpec = RewardSpec | VerifierSpec | ImplicitSpec

_KINDS: Mapping[object, type[RewardSpec] | type[VerifierSpec] | type[ImplicitSpec]] = {
    "generative": VerifierSpec,
    "implicit": ImplicitSpec,
}


class _Kind(BaseModel):
    """The field that tells the kinds of specs apart."""

    head: object = None


def parse_spec(text: str | bytes) -> AnySpec:
    """Return the spec that JSON `text` declares.

    Raises:
        RewardSpecError: naming each wrong field.
    """
    kind = _validated(lambda: _Kind.model_validate_json(text))
    return _validated(lambda: _KINDS.get(kind.head, RewardSpec).model_validate_json(text))


def parse_toml_spec(text: str) -> AnySpec:
    """Return the spec that TOML `text` declares, its fields at the top level.

    Raises:
        RewardSpecError: if it is not TOML, or naming each wrong field.
    """
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RewardSpecError(f"the reward spec is not valid TOML ({error}); correct this place") from error
    return _validated(lambda: _KINDS.get(fields.get("head"), RewardSpec).model_validate(fields))


def spec_from_metadata(metadata: Mapping[str, object]) -> AnySpec | None:
    """Return the spec that a model file carries in its metadata, None if it has none.

    Raises:
        RewardSpecError: if the file has one that is malformed.
    """
    value = metadata.get(METADATA_KEY)
    if value is None:
        return None
    return parse_spec(value if isinstance(value, str) else json.dumps(value))


def _validated(parse: Callable[[], Spec]) -> Spec:
    try:
        return parse()
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'spec'}: {item['msg']}" for item in error.errors(include_url=False)
        )
        raise RewardSpecError(f"the reward spec is not valid ({wrong}); correct these fields") from error
