"""Specs of reward models known by name, and the choice of the spec for a model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from .errors import RewardSpecError
from .spec import RewardSpec, parse_spec, spec_from_metadata

BUILTIN_SPECS: Mapping[str, RewardSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            RewardSpec(
                name="ramify-demo-prm",
                prompt_template="<|user|>{question}<|assistant|>",
                step_template="{step}<|step|>",
                tag="<|step|>",
                good="<|good|>",
                bad="<|bad|>",
                context_limit=512,
            ),
            # arXiv 2312.08935; the model card reads the logits of "+" and "-" at each "ки".
            RewardSpec(
                name="math-shepherd",
                prompt_template="<s>{question} ",
                step_template="{step} ки\n",
                tag=" ки",
                good=" +",
                bad=" -",
                aggregation="min",
                context_limit=4096,
                strip_steps=True,
            ),
            # arXiv 2502.06737; each step ends in one token of a space and four newlines.
            RewardSpec(
                name="versaprm",
                prompt_template="<|begin_of_text|>{question} \n\n",
                step_template="{step} \n\n\n\n",
                tag=" \n\n\n\n",
                good="+",
                bad="-",
                aggregation="min",
                context_limit=8192,
                strip_steps=True,
            ),
        )
    }
)
"""Built-in specs by name."""


def load_spec(source: str) -> RewardSpec:
    """Return the spec that `source` means: a built-in name, the path of a JSON file, or JSON itself.

    Raises:
        RewardSpecError: if it is none of these, or malformed.
    """
    if source in BUILTIN_SPECS:
        return BUILTIN_SPECS[source]
    if source.lstrip().startswith("{"):
        return parse_spec(source)
    try:
        text = Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RewardSpecError(
            f"{source!r} is neither a built-in reward spec nor a readable JSON file; "
            f"built-in are {', '.join(BUILTIN_SPECS)}"
        ) from error
    return parse_spec(text)


def resolve_spec(metadata: Mapping[str, object], *, model: str, given: RewardSpec | str | None = None) -> RewardSpec:
    """Return the spec for a model file: the one `given`, else the one in the file's metadata.

    Nothing is guessed from names: a wrong format changes scores without any other sign.

    Raises:
        RewardSpecError: if there is none, or it is malformed.
    """
    if isinstance(given, RewardSpec):
        return given
    spec = spec_from_metadata(metadata) if given is None else load_spec(given)
    if spec is None:
        raise RewardSpecError(
            f"{model} does not say how it reads steps, so it cannot be used as a reward model; pass a reward spec: "
            f"a JSON file, or the name of a built-in one if the model is of that kind ({', '.join(BUILTIN_SPECS)})"
        )
    return spec
