"""Writing of a data set: its examples, each once, as JSON lines, and its card, in a folder."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ramify.errors import UsageError
from ramify.files import make_folder, replacing, write_text

from .examples import Example, ExampleMaker
from .sources import Source, problems_of

DATA, CARD = "data.jsonl", "README.md"
_CACHE_KIB = 16_384
"""Memory of the index of examples that were written; the rest of it lies in a temporary file."""
_TASKS = {"sft": "text-generation", "preference": "text-generation", "steps": "text-classification"}


@dataclass(slots=True)
class Counts:
    """Counts of an export: problems that were read, those with an example, examples, and those that were repeated.

    `left_out` are items without an answer to export. `labels` counts the labels of steps by their value.
    """

    problems: int = 0
    used: int = 0
    examples: int = 0
    repeated: int = 0
    left_out: int = 0
    labels: dict[str, int] = field(default_factory=dict[str, int])


def export(sources: list[Source], maker: ExampleMaker, out: Path) -> Counts:
    """Write the examples of all sources and the card into the folder `out`; one problem is in memory at a time.

    Raises:
        UsageError: if the folder cannot be written, or nothing passes the filters.
        RunFolderError: if a source is damaged.
    """
    counts = Counts()
    try:
        make_folder(out)
        with replacing(out / DATA, private=False) as part, part.open("w", encoding="utf-8") as file:
            for example in _examples(sources, maker, counts):
                file.write(json.dumps(example, ensure_ascii=False) + "\n")
            if not counts.examples:
                raise UsageError(f"none of {counts.problems} problems has an example", "use other filters or more runs")
        counts.left_out = sum(source.left_out for source in sources)
        write_text(out / CARD, card(sources, maker, counts), private=False)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror or error})", "choose another --out") from error
    return counts


def _examples(sources: Iterable[Source], maker: ExampleMaker, counts: Counts) -> Iterator[Example]:
    """Yield the examples of all problems, each once."""
    with closing(_Seen()) as seen:
        for problem in problems_of(sources):
            counts.problems += 1
            before = counts.examples
            for example in maker.make(problem):
                if not seen.add(example):
                    counts.repeated += 1
                    continue
                counts.examples += 1
                for label in example.get("labels", ()):
                    counts.labels[str(label).lower()] = counts.labels.get(str(label).lower(), 0) + 1
                yield example
            counts.used += counts.examples > before


class _Seen:
    """The examples that were written, by hash, in a temporary database that grows on disk instead of in memory."""

    def __init__(self) -> None:
        # An empty name is a private file, which is removed when the connection closes.
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._rows.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        self._rows.execute("BEGIN")

    def add(self, example: Mapping[str, Any]) -> bool:
        """Return whether an example is new, and keep its hash."""
        text = json.dumps(example, ensure_ascii=True, sort_keys=True)
        digest = hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()
        return self._rows.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount > 0

    def close(self) -> None:
        """Remove the database."""
        self._rows.close()


def card(sources: list[Source], maker: ExampleMaker, counts: Counts) -> str:
    """Return the card of a data set: its form, its filters, its counts and its sources."""
    columns = _COLUMNS[maker.kind, maker.form if maker.kind != "steps" else "text"]
    rows = [f"| `{name}` | {text} |" for name, text in columns.items()]
    facts = {name: value for name, value in asdict(counts).items() if name != "labels"}
    told = [f"- {name.replace('_', ' ')}: {value:,}" for name, value in facts.items()]
    told += [f"- labels {value}: {count:,}" for value, count in sorted(counts.labels.items())]
    parts = [
        "---",
        "configs:",
        "- config_name: default",
        f"  data_files: {DATA}",
        "task_categories:",
        f"- {_TASKS[maker.kind]}",
        "tags:",
        "- ramify",
        "- trl",
        "---",
        f"# {_TITLES[maker.kind]}",
        "",
        "Made by `ramify export` from searches of a model; texts are the model's own, and nobody has read them.",
        "",
        "| column | content |",
        "|---|---|",
        *rows,
        "",
        f"Filters: {', '.join(map(str, maker.filters))}. Most examples of a problem: {maker.most or 'all'}.",
        "",
        *told,
        "",
        "## Sources",
        "",
        *(f"- `{source.name}`: `{json.dumps(source.facts, ensure_ascii=False, sort_keys=True)}`" for source in sources),
    ]
    return "\n".join(parts) + "\n"


_TITLES = {
    "sft": "Solutions for supervised fine-tuning",
    "preference": "Preferences between solutions of one problem",
    "steps": "Solutions with labelled steps",
}
_COLUMNS = {
    ("sft", "messages"): {"messages": "the conversation, whose last message is the solution"},
    ("sft", "text"): {"prompt": "the question", "completion": "the solution"},
    ("preference", "messages"): {
        "prompt": "the conversation up to the question",
        "chosen": "a message with a good solution",
        "rejected": "a message with a bad solution of the same problem",
    },
    ("preference", "text"): {
        "prompt": "the question",
        "chosen": "a good solution",
        "rejected": "a bad solution of the same problem",
    },
    ("steps", "text"): {
        "prompt": "the question",
        "completions": "the steps of a solution",
        "labels": "of each step, whether a good solution of the search goes through it",
    },
}
