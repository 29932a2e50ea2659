"""Rates of a model on this machine: measured while it works, and kept per model file between processes."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from ramify.files import cache_folder, read_bytes, write_text
from ramify.host_resources import processors
from ramify.json_text import read_json

from ..llama.config import ModelConfig
from ..messages import DecodeTimes

log = logging.getLogger(__name__)

LEARNED_S = 1.0
"""Seconds of decode calls of one kind after which their time is known."""
LEAST_WIDE_CALLS = 4.0
"""Calls of a number of sequences after which it counts as the widest one seen."""
UNKNOWN_GAIN = 1.5
"""Least gain of the tokens per second that is expected of several sequences in one call over one."""
NEWS = 0.1
"""Share by which a rate has to change to be written again."""
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Speed of one model in one worker, None where it is not known.

    `prompt_tokens_per_s` is that of reading, `single_tokens_per_s` that of writing one sequence, and
    `widest_tokens_per_s` that of writing `widest` sequences together, the most that were seen. `now` tells that the
    speed of writing was measured in this process, so that it is that of the machine as busy as it is.
    """

    prompt_tokens_per_s: float | None = None
    single_tokens_per_s: float | None = None
    widest: int = 1
    widest_tokens_per_s: float | None = None
    now: bool = False

    def tokens_per_s(self, sequences: int) -> float | None:
        """Return the speed of writing so many sequences together; None if not even that of one is known.

        The time of a call grows linearly with its sequences, between one and the widest call that was seen and beyond.
        Without a wide one the gain over one sequence is taken to be UNKNOWN_GAIN.
        """
        if self.single_tokens_per_s is None:
            return None
        if sequences <= 1:
            return self.single_tokens_per_s
        if self.widest_tokens_per_s is None or self.widest < 2:
            return UNKNOWN_GAIN * self.single_tokens_per_s
        single_s = 1 / self.single_tokens_per_s
        each_s = max(0.0, self.widest / self.widest_tokens_per_s - single_s) / (self.widest - 1)
        return sequences / (single_s + each_s * (sequences - 1))

    def gain(self, sequences: int) -> float:
        """Return how many times the tokens per second of one sequence so many have together."""
        together = self.tokens_per_s(sequences)
        if together is None or self.single_tokens_per_s is None:
            return UNKNOWN_GAIN if sequences > 1 else 1.0
        return together / self.single_tokens_per_s

    def seconds(self, sequences: int, *, prompt_tokens: int, tokens: int) -> float | None:
        """Return the time of reading so many prompts and writing as many sequences together; None if it is not known.

        The lengths are those of each prompt and each sequence. Reading takes no time where its speed is not known.
        """
        together = self.tokens_per_s(sequences)
        if together is None:
            return None
        reading_s = 0.0 if self.prompt_tokens_per_s is None else prompt_tokens / self.prompt_tokens_per_s
        return sequences * (reading_s + tokens / together)


def rates_of(times: DecodeTimes, kept: Rates) -> Rates:
    """Return the rates that measured times show; those that they do not show yet are the kept ones.

    Without a call of one sequence, its speed follows from the narrowest calls. A kept gain of wide calls is applied to
    the speed of now.
    """
    long = [(width, seconds / calls) for width, calls, seconds in times.steps if seconds >= LEARNED_S / 2 and calls]
    total_s = sum(seconds for *_, seconds in times.steps)
    prompt = times.prompt_tokens / times.prompt_s if times.prompt_s > 0 else kept.prompt_tokens_per_s
    if not long or total_s < LEARNED_S:
        return Rates(
            prompt_tokens_per_s=prompt,
            single_tokens_per_s=kept.single_tokens_per_s,
            widest=kept.widest,
            widest_tokens_per_s=kept.widest_tokens_per_s,
        )
    narrow, narrow_s = long[0]
    # One sequence is not slower than a share of several.
    single = 1 / narrow_s if narrow == 1 else narrow / narrow_s / max(kept.gain(narrow), 1.0)
    wide = [(width, calls, seconds) for width, calls, seconds in times.steps if calls >= LEAST_WIDE_CALLS and width > 1]
    widest, tokens_per_s = kept.widest, kept.widest_tokens_per_s
    if wide and (wide[-1][0] >= kept.widest or kept.widest_tokens_per_s is None):
        widest, calls, seconds = wide[-1]
        tokens_per_s = widest * calls / seconds
    elif tokens_per_s is not None:
        tokens_per_s = single * kept.gain(widest)
    return Rates(
        prompt_tokens_per_s=prompt,
        single_tokens_per_s=single,
        widest=widest,
        widest_tokens_per_s=tokens_per_s,
        now=True,
    )


class ModelRates:
    """Owner of the rates of one loaded model: starts with the kept ones, and keeps those that are measured.

    The file is a small JSON object in the folder `rates` of the cache; one that cannot be read, or belongs to another
    file, machine or number of threads, is not there.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._identity = _identity(config)
        self._kept = Rates() if self._identity is None else _read(_place(self._identity), self._identity)
        self._written = self._kept
        self.times = DecodeTimes()
        """Times measured in this process."""
        self._present: Rates | None = None

    @property
    def present(self) -> Rates:
        """The rates as they are known now."""
        if self._present is None:
            self._present = rates_of(self.times, self._kept)
        return self._present

    def take(self, times: DecodeTimes) -> None:
        """Take measured times; the first rates that they show are kept at once."""
        self.times, self._present = times, None
        if self.present.now and not self._written.now:
            self.keep()

    def keep(self) -> None:
        """Write the rates down if they were measured and differ from the written ones; a full disk does no harm."""
        if self._identity is None or not self.present.now or not _news(self._written, self.present):
            return
        self._written = self.present
        values = {name: value for name, value in asdict(self.present).items() if name != "now"}
        place = _place(self._identity)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, json.dumps({"version": VERSION, **self._identity, **values}) + "\n", private=True)
        except OSError:
            log.debug("the rates of %s are not kept", self._identity["file"], exc_info=True)


def _identity(config: ModelConfig) -> dict[str, Any] | None:
    """Return the key of the rates, in JSON types; None if there is no such file."""
    path = os.path.realpath(config.path)
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return {
        "file": path,
        "bytes": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "machine": f"{platform.node()} {platform.machine()}",
        "processors": processors(),
        "threads": config.threads,
        "gpu_layers": config.gpu_layers,
        "library": version("llama-cpp-python"),
    }


def _place(identity: Mapping[str, Any]) -> Path:
    text = json.dumps(identity, sort_keys=True)
    return cache_folder() / "rates" / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.json"


def _read(place: Path, identity: Mapping[str, Any]) -> Rates:
    """Return the rates in a file, unknown ones if it is damaged or belongs to something else."""
    try:
        found: Any = read_json(read_bytes(place))
    except (OSError, ValueError):
        return Rates()
    if not isinstance(found, dict):
        return Rates()
    data = cast("dict[str, Any]", found)
    if data.get("version") != VERSION or any(data.get(name) != value for name, value in identity.items()):
        return Rates()
    speeds = {name: data.get(name) for name in ("prompt_tokens_per_s", "single_tokens_per_s", "widest_tokens_per_s")}
    widest = data.get("widest")
    if not all(each is None or _is_speed(each) for each in speeds.values()) or not _is_width(widest):
        return Rates()
    return Rates(**cast("dict[str, Any]", speeds), widest=cast("int", widest))


def _is_speed(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _is_width(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _news(old: Rates, new: Rates) -> bool:
    pairs = [
        (old.prompt_tokens_per_s, new.prompt_tokens_per_s),
        (old.single_tokens_per_s, new.single_tokens_per_s),
        (old.widest_tokens_per_s, new.widest_tokens_per_s),
    ]
    return old.widest != new.widest or any(
        (before is None) != (after is None) or (before and after and abs(after - before) > NEWS * before)
        for before, after in pairs
    )
