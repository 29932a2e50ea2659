"""Writes the rows of docs/reference/options.md from the declared settings; with --check only compares them.

A row of another option, such as `--fallback`, stays as it is, and so do the order of the rows and the text around them.
A setting without a row gets one at the end of its section's table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ramify.config import SETTINGS
from ramify.settings import GROUPS, Group, Setting

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "options.md"
SECTIONS: dict[Group, str] = {
    "search": "## What searches",
    "limits": "## Limits",
    "sampling": "## Sampling and prompts",
    "machine": "## The machine",
}
FLAGS = re.compile(r"\| (?P<cell>`--?[a-z-]+`[^|]*) \|")


def row(setting: Setting) -> str:
    """Return the table row of a setting."""
    names = ", ".join(f"`{flag}`" for flag in reversed(setting.flags))
    return f"| {names} | {setting.explanation or setting.help} |"


def updated(page: str) -> str:
    """Return the page with the rows of all settings."""
    lines = page.split("\n")
    for group in GROUPS:
        first = lines.index(SECTIONS[group])
        last = next((at for at in range(first + 1, len(lines)) if lines[at].startswith("## ")), len(lines))
        lines[first:last] = section(lines[first:last], [each for each in SETTINGS.values() if each.group == group])
    return "\n".join(lines)


def section(lines: Sequence[str], settings: Sequence[Setting]) -> list[str]:
    """Return the lines of a section with the rows of its settings; its first table is theirs."""
    missing = {each.key.replace("_", "-"): row(each) for each in settings}
    found, end = list[str](), 0
    for line in lines:
        match = FLAGS.match(line)
        names = re.findall(r"`--([a-z-]+)`", match["cell"]) if match else []
        # The row of a setting with an alias names both.
        key = next((each for each in names if each in missing), None)
        found.append(line if key is None else missing.pop(key))
        if match:
            end = len(found)
    return [*found[:end], *missing.values(), *found[end:]]


def main() -> int:
    """Write the page, or compare it, and return the exit code."""
    page = PAGE.read_text("utf-8")
    wanted = updated(page)
    if page == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/reference/options.md is not up to date; run scripts/options.py", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
