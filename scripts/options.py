"""Writes the generated parts of docs/reference/; with --check only compares them.

In options.md these are the rows of the declared settings. A row of another option, such as `--fallback`, stays as it
is, and so do the order of the rows and the text around them; a setting without a row gets one at the end of its
section's table. errors.md gets the table of the errors, and cli.md the help of every command.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

import ramify.errors
from ramify.cli.app import COMMANDS, app
from ramify.cli.help import TITLES
from ramify.config import SETTINGS
from ramify.settings import FLAG, GROUPS, Setting

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
COLUMNS = 100
"""Width of a line in the help of the commands."""
ERROR = re.compile(r"^ {4}(?P<bars>[│├└─ ]*)(?P<name>\w+) +(?P<code>\d+) +(?P<meaning>.+)$", re.MULTILINE)
TABLE = re.compile(r"(?<=\| error \| below \| exit code \| raised when \|\n\|---\|---\|---\|---\|\n)(\|.*\n)*")
CLI_TOP = """# Command line

The help of every command. Commands that search have further options, which [Options of a search](options.md) and
`ramify COMMAND --help-all` list. `scripts/options.py` writes this page.

```text
{}
```
"""
FLAGS = re.compile(r"\| (?P<cell>`--?[a-z-]+`[^|]*) \|")


def row(setting: Setting) -> str:
    """Return the table row of a setting."""
    flags = [*setting.flags, *([f"--no-{setting.flags[0][2:]}"] if setting.kind is FLAG and setting.default else [])]
    names = ", ".join(f"`{flag}`" for flag in reversed(flags))
    return f"| {names} | {setting.explanation or setting.help} |"


def updated_options(page: str) -> str:
    """Return options.md with the rows of all settings."""
    lines = page.split("\n")
    for group in GROUPS:
        first = lines.index(f"## {TITLES[group]}")
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


def updated_errors(page: str) -> str:
    """Return errors.md with the tree of the errors as a table."""
    rows, above = list[str](), list[str]()
    for each in ERROR.finditer(ramify.errors.__doc__ or ""):
        del above[len(each["bars"]) // 4 :]
        parent = above[-1] if above else "Exception"
        above.append(each["name"])
        rows.append(f"| `{each['name']}` | `{parent}` | {each['code']} | {each['meaning']} |\n")
    return TABLE.sub(lambda _: "".join(rows), page)


def command_help(command: click.Command, name: str) -> str:
    """Return the help of a command in lines of COLUMNS characters."""
    return command.get_help(
        click.Context(command, info_name=name, terminal_width=COLUMNS, help_option_names=["-h", "--help"])
    )


def sections(command: click.Command, name: str, level: int) -> Iterator[str]:
    """Yield the sections of a command and of the commands below it."""
    yield f"{'#' * level} {name}\n\n```text\n{command_help(command, name)}\n```\n"
    if isinstance(command, click.Group):
        for each in command.commands:
            yield from sections(command.commands[each], f"{name} {each}", level + 1)


def updated_cli(_page: str) -> str:
    """Return cli.md."""
    parts = [CLI_TOP.format(command_help(app, "ramify"))]
    context = click.Context(app)
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        parts += sections(command, f"ramify {name}", 2)
    return "\n".join(parts)


PAGES = {"options.md": updated_options, "errors.md": updated_errors, "cli.md": updated_cli}


def main() -> int:
    """Write the pages, or compare them, and return the exit code."""
    stale = list[str]()
    for name, updated in PAGES.items():
        path = REFERENCE / name
        page = path.read_text("utf-8") if path.exists() else ""
        wanted = updated(page)
        if page != wanted:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.write_text(wanted, "utf-8")
    if stale and "--check" in sys.argv[1:]:
        print(f"not up to date in docs/reference: {', '.join(stale)}; run scripts/options.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
