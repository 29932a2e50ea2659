"""The viewer's page: style, script and data in one HTML text that loads nothing else.

Texts of models are data: they stand in a block of JSON in which no markup can begin, and the script puts them on the
page as text. A Content Security Policy allows no script but the page's own and, in pages of files, no connection.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from ramify.json_text import ascii_json

SCRIPTS = ("dom.js", "tree.js", "graph.js", "outline.js", "panel.js", "details.js", "events.js", "live.js", "main.js")
"""Files of the script in the order in which they stand on the page."""
STYLES = ("style.css", "live.css")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def page(runs: Sequence[Mapping[str, Any]] | None = None, *, strategies: Sequence[str] = ()) -> str:
    """Return the page as one HTML text in ASCII.

    `runs` are those of `run_data` or `tree_data`: the first is shown, a second one beside it, and further ones can be
    chosen. None is the live page of a server, which asks questions, follows searches and steers them, and
    `strategies` are those that it offers.
    """
    live = runs is None
    data = embedded_json({"live": live, "strategies": list(strategies), "runs": list(runs or ())})
    script, style = _joined(SCRIPTS), _joined(STYLES)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{_digest(script)}'",
            f"style-src 'sha256-{_digest(style)}'",
            "img-src data:",
            f"connect-src {_quoted('self' if live else 'none')}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>ramify</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<div id="app"></div>\n<noscript>This page needs JavaScript.</noscript>\n'
        f'<script type="application/json" id="data">{data}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def embedded_json(value: Any) -> str:
    """Return a value as JSON in ASCII that can stand inside a script element; numbers that are not finite are null."""
    text = ascii_json(value)
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return text


@cache
def _joined(names: tuple[str, ...]) -> str:
    """Return files of the page as one text; characters outside ASCII are escaped, so that no encoding can harm them."""
    folder = files("ramify.viewer") / "assets"
    text = "\n".join((folder / name).read_text("utf-8") for name in names)
    if names == SCRIPTS:
        text = f'"use strict";\n(() => {{\n{text}\n}})();\n'
        text = "".join(each if each.isascii() else f"\\u{ord(each):04x}" for each in text)
    return text


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _quoted(word: str) -> str:
    return f"'{word}'"
