"""Loading of reward specifications: from names, TOML, JSON and model metadata, and the choice for a model file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar, cast

from pydantic import ValidationError

from ramify.errors import MalformedText, RewardSpecError
from ramify.json_text import read_json, read_toml

from .layout import PathLayout
from .protocol import Tokenizer
from .published import BUILTIN_SPECS as BUILTIN_SPECS
from .published import FAMILIES, Family
from .specs import ImplicitSpec, RewardSpec, VerifierSpec, invalid_spec
from .tokens import token_of

NAME_KEYS = (
    "general.name",
    "general.basename",
    "general.finetune",
    "general.url",
    "general.repo_url",
    "general.source.url",
    "general.source.repo_url",
    "general.source.huggingface.repository",
)
"""Metadata keys that say where a model comes from; converters fill them from its folder or repository."""


def load_spec(source: str) -> AnySpec:
    """Return the spec that `source` means: a built-in name, the path of a TOML or JSON file, or JSON itself.

    Raises:
        RewardSpecError: if it is none of these, or malformed.
    """
    if source in BUILTIN_SPECS:
        return BUILTIN_SPECS[source]
    if source.lstrip().startswith("{"):
        return parse_spec(source)
    try:
        text = Path(source).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise RewardSpecError(
            f"{source!r} is neither a built-in reward spec nor a readable TOML or JSON file; "
            f"built-in are {', '.join(BUILTIN_SPECS)}"
        ) from error
    return parse_spec(text) if text.lstrip().startswith("{") else parse_toml_spec(text)


def resolve_spec(
    metadata: Mapping[str, object],
    *,
    model: str,
    given: AnySpec | str | None = None,
    tokenizer: Tokenizer | None = None,
) -> AnySpec:
    """Return the spec for a model file: the one `given`, else the one in its metadata, else the one it shows.

    A published family is chosen only if the file's names say so and its architecture and vocabulary fit: other models
    have the same vocabulary, and a wrong format changes scores without any other sign. `tokenizer` None leaves the
    vocabulary out, and then no family is chosen.

    Raises:
        RewardSpecError: if there is none, or it is malformed; the message lists the families that would fit.
    """
    if given is not None:
        return load_spec(given) if isinstance(given, str) else given
    spec = spec_from_metadata(metadata)
    if spec is not None:
        return spec
    fitting = [] if tokenizer is None else list(fitting_families(metadata, tokenizer))
    named = [family for family in fitting if is_named(family, metadata)]
    if len(named) == 1:
        return named[0].spec
    candidates = ", ".join(family.spec.name for family in fitting)
    raise RewardSpecError(
        f"{model} does not say how it reads steps, so it cannot be used as a reward model; pass a reward spec: a TOML "
        "or JSON file, or the name of a built-in one if the model is of that kind "
        + (f"(its vocabulary fits {candidates})" if candidates else f"({', '.join(BUILTIN_SPECS)})")
    )


def fitting_families(metadata: Mapping[str, object], tokenizer: Tokenizer) -> Iterable[Family]:
    """Yield the families whose architecture and vocabulary the model has."""
    for family in FAMILIES:
        if metadata.get("general.architecture") in family.architectures and _fits(family.spec, tokenizer):
            yield family


def is_named(family: Family, metadata: Mapping[str, object]) -> bool:
    """Tell whether the model's metadata has one of the names under which the family is known."""
    names = [_plain(str(metadata[key])) for key in NAME_KEYS if key in metadata]
    return any(mark in name for mark in family.marks for name in names)


def _fits(spec: RewardSpec | VerifierSpec, tokenizer: Tokenizer) -> bool:
    try:
        if isinstance(spec, RewardSpec):
            PathLayout(spec, tokenizer)
        else:
            token_of(tokenizer, spec.yes, role="yes")
            token_of(tokenizer, spec.no, role="no")
    except RewardSpecError:
        return False
    return True


def _plain(name: str) -> str:
    return "".join("-" if character in " _." else character for character in name.lower())


METADATA_KEY = "ramify.reward.spec"
"""GGUF metadata key under which a model file carries its own spec as JSON."""

Spec = TypeVar("Spec")

AnySpec = RewardSpec | VerifierSpec | ImplicitSpec

_KINDS: Mapping[object, type[RewardSpec] | type[VerifierSpec] | type[ImplicitSpec]] = {
    "generative": VerifierSpec,
    "implicit": ImplicitSpec,
}


def parse_spec(text: str | bytes) -> AnySpec:
    """Return the spec that JSON `text` declares.

    Raises:
        RewardSpecError: naming each wrong field.
    """
    try:
        fields = read_json(text)
    except MalformedText as error:
        raise RewardSpecError(f"the reward spec is not valid ({error.message}); correct this place") from error
    return _validated(lambda: _kind(fields).model_validate(fields))


def _kind(fields: object) -> type[RewardSpec] | type[VerifierSpec] | type[ImplicitSpec]:
    head = cast("dict[str, object]", fields).get("head") if isinstance(fields, dict) else None
    return _KINDS.get(head, RewardSpec) if isinstance(head, str) else RewardSpec


def parse_toml_spec(text: str) -> AnySpec:
    """Return the spec that TOML `text` declares, its fields at the top level.

    Raises:
        RewardSpecError: if it is not TOML, or naming each wrong field.
    """
    try:
        fields = read_toml(text)
    except MalformedText as error:
        raise RewardSpecError(f"the reward spec is not valid TOML ({error.message}); correct this place") from error
    return _validated(lambda: _kind(fields).model_validate(fields))


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
        raise invalid_spec(error) from error
