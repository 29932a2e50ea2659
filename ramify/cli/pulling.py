"""`ramify models pull`: models from the Hugging Face hub."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ..text import duration_text, size_text
from . import diagnostics, output
from .progress import REDRAW_S, REPEAT_S

if TYPE_CHECKING:
    from ramify.engine.library.hub.reference import HubRef


@click.command()
@click.argument("reference", metavar="hf:REPO[@REVISION][/FILE|:QUANTIZATION]")
@click.option("--name", help="What to call the model.  [default: as the file is called]")
@click.option("--force", is_flag=True, help="Replace another model of that name.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def pull(reference: str, name: str | None, force: bool, as_json: bool) -> None:
    """Fetch a GGUF model from the Hugging Face hub into your model folder.

    With a file (hf:OWNER/REPO/FILE.gguf) or a quantization (hf:OWNER/REPO:Q4_K_M) the model is fetched, with all its
    parts; a download that was cut off goes on where it stopped. With hf:OWNER/REPO alone the models in the repository
    are listed. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
    """
    from ramify.engine.library.hub.reference import parse_reference

    ref = parse_reference(reference)
    if ref.file is None and ref.quantization is None:
        _list(ref, as_json)
        return
    from ramify.engine.library.pull import pull as fetch

    progress = DownloadProgress()
    try:
        done = fetch(ref, progress, name=name, force=force)
    finally:
        progress.clear()
    diagnostics.say(f"{'fetched' if done.fetched else 'there already'}: use it with --model {done.name}")
    if as_json:
        facts = {"name": done.name, "path": str(done.path), "source": done.source, "fetched": done.fetched}
        output.write_json(facts, indent=2)
    else:
        output.write(str(done.path))


class DownloadProgress:
    """Says how much of a file has come: in one line on a terminal, in a new line now and then elsewhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._status = diagnostics.StatusLine()
        self._interactive = diagnostics.is_interactive()
        self._file = ""
        self._size_bytes: int | None = None
        self._first: tuple[float, int] | None = None
        self._last_s = 0.0

    def begin(self, file: str, size_bytes: int | None) -> None:
        """Say that a file is being fetched."""
        self._file, self._size_bytes, self._first = file, size_bytes, None
        self._last_s = self._clock()
        self._status.clear()
        diagnostics.say(f"fetching {file}" + (f" ({size_text(size_bytes)})" if size_bytes is not None else ""))

    def advance(self, have_bytes: int) -> None:
        """Take in how much is there and say so, if it is time to."""
        now_s = self._clock()
        if self._first is None:
            self._first = now_s, have_bytes
            if have_bytes:
                diagnostics.say(f"{size_text(have_bytes)} are there from an earlier try")
        if now_s - self._last_s < (REDRAW_S if self._interactive else REPEAT_S):
            return
        self._last_s = now_s
        line = self.line(have_bytes, now_s)
        if self._interactive:
            self._status.show(line)
        else:
            diagnostics.say(line)

    def line(self, have_bytes: int, now_s: float) -> str:
        """Return where the download stands."""
        size = self._size_bytes
        parts = [size_text(have_bytes) if size is None else f"{size_text(have_bytes)} of {size_text(size)}"]
        if size:
            parts.append(f"{have_bytes / size:.0%}")
        start_s, start_bytes = self._first or (now_s, have_bytes)
        if now_s > start_s and have_bytes > start_bytes:
            speed = (have_bytes - start_bytes) / (now_s - start_s)
            parts.append(f"{size_text(int(speed))}/s")
            if size:
                parts.append(f"{duration_text((size - have_bytes) / speed)} left")
        return f"{self._file}: " + " · ".join(parts)

    def note(self, line: str) -> None:
        """Say something that the user may not expect."""
        self._status.clear()
        diagnostics.note(line)

    def clear(self) -> None:
        """Remove the line, so that something else can be written."""
        self._status.clear()


def _list(ref: HubRef, as_json: bool) -> None:
    from ramify.engine.library.hub.choosing import list_choices

    choices = list_choices(ref)
    if as_json:
        rows = [
            {
                "reference": f"{ref.place}/{each.file}",
                "file": each.file,
                "quantization": each.quantization or None,
                "size_bytes": each.size_bytes,
                "parts": each.parts,
            }
            for each in choices
        ]
        output.write_json(rows, indent=2)
        return
    table = [
        (
            each.file,
            each.quantization or "-",
            "-" if each.size_bytes is None else size_text(each.size_bytes),
            str(each.parts),
        )
        for each in choices
    ]
    output.write_table(("FILE", "QUANTIZATION", "SIZE", "PARTS"), table)
    diagnostics.say(f"fetch one with `ramify models pull {ref.place}/{choices[0].file}`")
