"""References to the hub (`hf:` names) and names of model files, without network access."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ramify.errors import UsageError

from ...runtime.llama.gguf_check import PART_NAME, part_of

PREFIX = "hf:"
GRAMMAR = "write hf:OWNER/REPO/FILE.gguf, hf:OWNER/REPO:Q4_K_M or hf:OWNER/REPO@REVISION/FILE.gguf"

_REFERENCE = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[\w.-]+))?"
    r"(?:/(?P<file>[^:\\\s][^:\\]*)|:(?P<quantization>[\w.-]+))?",
    re.ASCII,
)
_QUANTIZATION = re.compile(
    r"(?<![a-z0-9])((?:ud-)?(?:i?q\d(?:_[a-z0-9]+)*|tq\d_\d|bf16|fp?16|fp?32))(?![a-z0-9])",
    re.IGNORECASE,
)
_NO_MODELS = ("mmproj", "imatrix")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRef:
    """A reference to a repository on the hub or to a file in it.

    `revision` is a branch, tag or commit, None for the repository's main branch. `file` is a path in the repository;
    `quantization` names a file by its kind instead. Both are None if the whole repository is meant.
    """

    repo: str
    revision: str | None = None
    file: str | None = None
    quantization: str | None = None

    def __str__(self) -> str:
        end = f"/{self.file}" if self.file else f":{self.quantization}" if self.quantization else ""
        return f"{self.place}{end}"

    @property
    def place(self) -> str:
        """The repository, with the revision if one is asked for."""
        return f"{PREFIX}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def parse_reference(text: str) -> HubRef:
    """Return the parsed `hf:` name.

    Raises:
        UsageError: if it is not of that form.
    """
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no reference to a file on the Hugging Face hub", GRAMMAR)
    ref = HubRef(**match.groupdict())
    if any(set(part) == {"."} for part in ref.repo.split("/")):
        raise UsageError(f"{text!r} is no reference to a file on the Hugging Face hub", GRAMMAR)
    if ref.file is not None:
        if any(part in ("", ".", "..") for part in ref.file.split("/")) or not ref.file.isprintable():
            raise UsageError(f"{ref.file!r} is no path of a file in a repository", GRAMMAR)
        if not ref.file.lower().endswith(".gguf"):
            raise UsageError(
                f"{ref.file!r} is not a .gguf file, and ramify loads no other",
                f"see what there is with `ramify models pull {ref.place}`",
            )
    return ref


def quantization_of(file: str) -> str:
    """Return the quantization in a file's name, such as `q4_k_m`, "" if there is none."""
    found = _QUANTIZATION.findall(model_name(file))
    return str(found[-1]).lower().replace("fp", "f", 1) if found else ""


def model_name(file: str) -> str:
    """Return the name of the model that a file holds: without folders, suffix and number of part."""
    name = PurePosixPath(file).name
    split = PART_NAME.fullmatch(name)
    if split:
        return split["stem"]
    return name[: -len(".gguf")] if name.lower().endswith(".gguf") else name


def stored_name(name: str, file: str) -> str:
    """Return the name of `file` in the model folder, as (a part of) the model `name`."""
    part, count = part_of(file)
    return f"{name}.gguf" if count == 1 else f"{name}-{part:05}-of-{count:05}.gguf"


def model_files(files: Iterable[str]) -> list[str]:
    """Return the files that are models, of split ones the first part, in name order."""
    return sorted(
        file
        for file in files
        if file.lower().endswith(".gguf")
        and part_of(file)[0] == 1
        and not PurePosixPath(file).name.lower().startswith(_NO_MODELS)
    )


def with_quantization(files: Sequence[str], quantization: str) -> list[str]:
    """Return the models among `files` with a quantization in their names; `ud-` ones only if no name is exact."""
    wanted = quantization.lower()
    exact = [file for file in model_files(files) if quantization_of(file) == wanted]
    return exact or [file for file in model_files(files) if quantization_of(file) == f"ud-{wanted}"]
