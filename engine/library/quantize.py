"""Quantization of a GGUF model with llama.cpp, in a child process."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ramify.errors import ModelLoadError, UsageError
from ramify.files import copy_file, is_file, is_folder, models_folder, replacing, user_path
from ramify.host_resources import processors
from ramify.text import nearest_word

from ..runtime.llama.gguf_check import check_gguf
from ..runtime.llama.processes import child_environment, python_command, signal_name
from .catalog import HEAD_SUFFIX, model_parts, resolve_model
from .hub.reference import model_name, quantization_of

QUANTIZATIONS = {
    "q2_k": "MOSTLY_Q2_K",
    "q3_k_s": "MOSTLY_Q3_K_S",
    "q3_k_m": "MOSTLY_Q3_K_M",
    "q3_k_l": "MOSTLY_Q3_K_L",
    "iq4_xs": "MOSTLY_IQ4_XS",
    "iq4_nl": "MOSTLY_IQ4_NL",
    "q4_0": "MOSTLY_Q4_0",
    "q4_1": "MOSTLY_Q4_1",
    "q4_k_s": "MOSTLY_Q4_K_S",
    "q4_k_m": "MOSTLY_Q4_K_M",
    "q5_0": "MOSTLY_Q5_0",
    "q5_1": "MOSTLY_Q5_1",
    "q5_k_s": "MOSTLY_Q5_K_S",
    "q5_k_m": "MOSTLY_Q5_K_M",
    "q6_k": "MOSTLY_Q6_K",
    "q8_0": "MOSTLY_Q8_0",
    "bf16": "MOSTLY_BF16",
    "f16": "MOSTLY_F16",
    "f32": "ALL_F32",
}
"""llama.cpp's file types by name, smallest first; those that need an importance matrix are left out."""
ALIASES = {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m"}

FLOAT_TENSORS = frozenset({0, 1, 30})
"""Types F32, F16 and BF16 of ggml.h, which are not quantized."""

KEPT_LINES = 30

_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
_FALLBACK = re.compile(r"(\d+) of (\d+) tensor\(s\) required fallback quantization")
_KIND_AT_END = re.compile(r"(?P<stem>.+)(?P<separator>[-.])(?P<kind>[^-.]+)")

Report = Callable[[int, int], None]
"""Callback with the number of the tensor being written and the number of all."""


@dataclass(frozen=True, slots=True)
class QuantizePlan:
    """Input and output of a quantization; `quantized` tells whether the input is quantized already."""

    source: Path
    target: Path
    kind: str
    source_bytes: int
    quantized: bool


@dataclass(frozen=True, slots=True)
class Quantized:
    """Result of a quantization.

    `fallbacks` counts those of the `tensors` whose shape their type does not support, so that llama.cpp chose another
    type. `head_path` is the copy of a reward model's head, None if there is none.
    """

    path: Path
    before_bytes: int
    after_bytes: int
    fallbacks: int
    tensors: int
    head_path: Path | None


def quantization_named(text: str) -> str:
    """Return the name of a quantization as it is written here.

    Raises:
        UsageError: if there is none of that name; the message has the nearest.
    """
    name = text.strip().lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if name in QUANTIZATIONS:
        return name
    near = nearest_word(name, QUANTIZATIONS, cutoff=0.6)
    known = f"the types are {', '.join(QUANTIZATIONS)}"
    raise UsageError(f"there is no quantization {text!r}", f"did you mean {near}? {known}" if near else known)


def plan_quantization(
    model: str, out_or_kind: str, *, kind: str | None = None, force: bool = False, allow_requantize: bool = False
) -> QuantizePlan:
    """Return the plan to quantize `model` to a type, or to a file whose name has the type.

    `kind` is the type if the file's name does not have it. With a type alone, the result lies beside the input, or in
    the user's model folder if the input is a name.

    Raises:
        UsageError: if the type is unknown, the file exists, or the input is quantized already and that is not allowed.
        ModelLoadError: if the input is missing or damaged.
    """
    ref = resolve_model(model)
    summary = check_gguf(ref.path)
    if _is_file_name(out_or_kind):
        target = user_path(out_or_kind)
        wanted = _kind_of(target, kind)
    else:
        wanted = quantization_named(out_or_kind)
        if kind is not None and quantization_named(kind) != wanted:
            raise UsageError(f"{out_or_kind!r} and --type {kind!r} differ", "give the type once")
        named = ref.bundled or ref.path.parent == models_folder()
        target = (models_folder() if named else ref.path.parent) / f"{_derived_name(ref.path.name, wanted)}.gguf"
    quantized = not summary.tensor_types <= FLOAT_TENSORS
    _refuse(ref.path, target, force=force, quantized=quantized, allow_requantize=allow_requantize)
    size = sum(part.stat().st_size for part in model_parts(ref.path) if part.is_file())
    return QuantizePlan(ref.path, target, wanted, size, quantized)


def quantize(plan: QuantizePlan, report: Report, *, threads: int | None = None) -> Quantized:
    """Write the file; it appears under its name only when it is whole. `threads` None means all available.

    Raises:
        ModelLoadError: if llama.cpp fails or the file cannot be written.
    """
    target = plan.target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, private=False) as part:
            said = _run(plan, part, threads or processors(), report)
            check_gguf(part)
            after = part.stat().st_size
        head = _copy_head(plan.source, target)
    except OSError as error:
        raise ModelLoadError(f"{target} cannot be written ({error.strerror})", "name another file") from error
    fallback = _FALLBACK.search(said)
    fallbacks, tensors = (int(fallback[1]), int(fallback[2])) if fallback else (0, 0)
    return Quantized(target, plan.source_bytes, after, fallbacks, tensors, head)


def _run(plan: QuantizePlan, temporary: Path, threads: int, report: Report) -> str:
    """Run the child and return the last lines of its output."""
    arguments = (str(plan.source), str(temporary), QUANTIZATIONS[plan.kind], str(threads), str(int(plan.quantized)))
    child = subprocess.Popen(
        python_command("ramify.engine.runtime.llama.quantize_child", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=child_environment(),
    )
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    assert child.stdout is not None
    try:
        for raw in child.stdout:
            line = raw.decode("utf-8", "replace").strip()
            lines.append(line)
            match = _TENSOR.match(line)
            if match:
                report(int(match[1]), int(match[2]))
        code = child.wait()
    except BaseException:
        child.kill()
        child.wait()
        raise
    finally:
        child.stdout.close()
    if code != 0:
        raise ModelLoadError(
            f"{plan.source} cannot be quantized to {plan.kind} ({_cause(code, lines)})", _advice(lines)
        )
    return "\n".join(lines)


def _cause(code: int, lines: deque[str]) -> str:
    telling = [line for line in lines if "failed" in line or "rror" in line or "GGML_ASSERT" in line]
    end = f"llama.cpp died of {signal_name(-code)}" if code < 0 else f"llama.cpp gave up with code {code}"
    # llama.cpp appends the error to the line of the current tensor.
    return f"{end}: {telling[-1].rpartition(' .. ')[2]}" if telling else end


def _advice(lines: deque[str]) -> str:
    full = any("iostream error" in line or "No space" in line for line in lines)
    return "check that the disk has room for the file" if full else "see `ramify models info` for the input"


def _refuse(source: Path, target: Path, *, force: bool, quantized: bool, allow_requantize: bool) -> None:
    if is_folder(target):
        raise UsageError(f"{target} is a folder", "name a .gguf file in it")
    if is_file(target):
        if target.samefile(source):
            raise UsageError(f"{target} is the input itself", "name another file")
        if not force:
            raise UsageError(f"{target} is there already", "name another file or pass --force")
    if quantized and not allow_requantize:
        raise UsageError(
            f"{source} is quantized already, and quantizing it again loses more than quantizing the original",
            "take the F16 or F32 file, or pass --allow-requantize",
        )


def _is_file_name(text: str) -> bool:
    return text.lower().endswith(".gguf") or os.sep in text or text.startswith("~")


def _kind_of(target: Path, kind: str | None) -> str:
    if kind is not None:
        return quantization_named(kind)
    if target.suffix.lower() != ".gguf":
        raise UsageError(f"{target} does not end in .gguf", "name a .gguf file or a type such as q4_k_m")
    found = ALIASES.get(quantization_of(target.name), quantization_of(target.name))
    if found not in QUANTIZATIONS:
        raise UsageError(f"the name {target.name} does not tell the type", "add --type, such as --type q4_k_m")
    return found


def _derived_name(file: str, kind: str) -> str:
    """Return the input's name with the new type in place of the old one."""
    name = model_name(file)
    match = _KIND_AT_END.fullmatch(name)
    if match and quantization_of(match["kind"]) == match["kind"].lower():
        return f"{match['stem']}{match['separator']}{kind}"
    return f"{name}-{kind}"


def _copy_head(source: Path, target: Path) -> Path | None:
    """Copy the head that lies beside a reward model, which its metadata names without a folder."""
    head = source.with_suffix(HEAD_SUFFIX)
    if not head.is_file() or source.parent == target.parent:
        return None
    copy = target.parent / head.name
    copy_file(head, copy)
    return copy
