"""HTML for notebooks: a run or a tree in a frame of its own, and the progress of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ramify.text import printable, shorten

from .page import page

MOST_NODES = 3000
"""Nodes up to which a tree is kept in a notebook; larger ones would make its file unwieldy."""
_ANSWERS = 5
_LONGEST = 200
_HEIGHT_PX = 640


def notebook_view(runs: Sequence[Mapping[str, Any]], nodes: int) -> str:
    """Return the first run in words and the viewer with all of them, in a sandboxed frame.

    Notebooks that are not trusted show the words alone. `nodes` is the size of the tree; above MOST_NODES the frame is
    left out.
    """
    words = _outcome(runs[0])
    if nodes > MOST_NODES:
        note = f"The tree has {nodes - 1:,} steps; write it to a file with to_html() to look at it."
        return f"<div>{words}<p>{note}</p></div>"
    frame = escape(page(runs), quote=True)
    return (
        f'<div>{words}<iframe title="Search tree" sandbox="allow-scripts" srcdoc="{frame}" '
        f'style="width:100%;height:{_HEIGHT_PX}px;border:1px solid #8b96a3;border-radius:5px"></iframe></div>'
    )


def progress_view(
    *,
    question: str,
    votes: Sequence[tuple[str, int, float]] = (),
    fraction: float | None = None,
    facts: Sequence[str] = (),
    lines: Sequence[str] = (),
) -> str:
    """Return the progress of a run: its question, votes, used share of the budget, facts and newest steps.

    `votes` are answers with the number and the weight of their paths, the leading one first; `fraction` is None or 0
    without a limit.
    """
    parts = [f"<p><strong>{_text(question)}</strong></p>"]
    if fraction:
        parts.append(f'<p>budget <progress max="1" value="{min(1.0, fraction):.3f}"></progress> {fraction:.0%}</p>')
    if facts:
        parts.append(f"<p>{_text(' · '.join(facts))}</p>")
    if votes:
        rows = "".join(
            f"<tr><td>{_text(answer)}</td><td>{count}</td><td>{weight:.2f}</td></tr>"
            for answer, count, weight in votes[:_ANSWERS]
        )
        parts.append(f"<table><tr><th>answer</th><th>paths</th><th>weight</th></tr>{rows}</table>")
    if lines:
        parts.append(f"<pre>{escape(printable(chr(10).join(shorten(each, _LONGEST) for each in lines)))}</pre>")
    return f"<div>{''.join(parts)}</div>"


def _outcome(run: Mapping[str, Any]) -> str:
    solution = run.get("solution")
    if solution is None:
        return f"<p>Search tree of: {_text(run['question'])}</p>" if run.get("question") else "<p>Search tree</p>"
    usage = solution["usage"]
    answer = "no answer" if solution["answer"] is None else f"<strong>{_text(solution['answer'])}</strong>"
    facts = (
        f"{solution['strategy'].get('name', 'search')}, stopped: {solution['stop_reason'].replace('_', ' ')}, "
        f"{usage['policy']['generated_tokens']:,} tokens, {usage['seconds']:.1f} s"
    )
    return f"<p>{_text(solution['question'])}</p><p>{answer} ({_text(facts)})</p>"


def _text(text: str) -> str:
    return escape(shorten(text, _LONGEST))
