"""A Hugging Face checkpoint on disk: its configuration, its tokenizer and its tensors."""

from __future__ import annotations

import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from ramify.errors import ModelLoadError, UsageError

from .safetensors import Array, SafetensorsFile
from .tokenizer_files import TokenizerConfig, TokenizerFile

Described = TypeVar("Described", bound=BaseModel)

WRAPPER = "pretrained_model."
"""What wrappers with a value head put before the names of the model's own tensors."""


class Checkpoint:
    """A folder with `config.json`, `tokenizer.json` and safetensors files.

    Raises:
        UsageError: if the folder or one of these is missing.
        ModelLoadError: if one of them cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", "download the model's repository and pass its folder")
        self.folder = folder
        self.config = self._json("config.json")
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise UsageError(
                f"{folder} has no .safetensors file", "download the model in the safetensors format, or convert it"
            )
        self._files = {_plain(name): (file, name) for file in map(SafetensorsFile, files) for name in file.names}

    @property
    def names(self) -> list[str]:
        """Names of all tensors, without a wrapper's prefix."""
        return list(self._files)

    @property
    def architecture(self) -> str:
        """The class that the checkpoint was saved from, "" if it is not told."""
        return str((self.config.get("architectures") or [""])[0])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        file, inner = self._files[name]
        return file.shape(inner)

    def tensor(self, name: str) -> Array:
        """Return a tensor."""
        file, inner = self._files[name]
        return file.tensor(inner)

    def parameter_count(self) -> int:
        """Number of weights in all tensors."""
        return sum(math.prod(self.shape(name)) for name in self.names)

    @cached_property
    def tokenizer(self) -> TokenizerFile:
        """What `tokenizer.json` says."""
        return self._validated("tokenizer.json", TokenizerFile)

    @cached_property
    def tokenizer_config(self) -> TokenizerConfig:
        """What `tokenizer_config.json` says; nothing without one."""
        if not (self.folder / "tokenizer_config.json").exists():
            return TokenizerConfig()
        return self._validated("tokenizer_config.json", TokenizerConfig)

    @cached_property
    def chat_template(self) -> str | None:
        """The default chat template, None without one."""
        beside = self.folder / "chat_template.jinja"
        if beside.exists():
            return beside.read_text("utf-8")
        template = self.tokenizer_config.chat_template
        return template if isinstance(template, str) else None

    def _validated(self, name: str, kind: type[Described]) -> Described:
        try:
            return kind.model_validate(self._json(name))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise ModelLoadError(
                f"{self.folder / name} is not as expected ({where}: {error.errors()[0]['msg']})", "download it again"
            ) from error

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            return cast("dict[str, Any]", json.loads(path.read_text("utf-8")))
        except FileNotFoundError as error:
            raise UsageError(f"{self.folder} has no {name}", "pass the folder of a whole model repository") from error
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"{path} cannot be read ({error})", "download it again") from error


def _plain(name: str) -> str:
    return name.removeprefix(WRAPPER)
