"""A report as one HTML page that needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from .analysis import Analysis
from .charts import bars, lines
from .compare import Comparison
from .figures import Figure, figures
from .tables import Table, comparison_table, tables

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1f2937 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e5e7eb;
         overflow-wrap: anywhere }
td + td, th + th { text-align: right } table.facts td { text-align: left }
table.facts td:first-child { white-space: nowrap; padding-right: 1.5rem }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1.5rem;
           margin: 2rem 0 }
figure { margin: 0 } figcaption { font-weight: 600 } svg { width: 100%; font-size: 12px; fill: #374151 }
p.note { color: #6b7280; margin: .25rem 0 }
"""


def page(analyses: Sequence[Analysis], comparisons: Sequence[Comparison]) -> str:
    """Return the page on some runs; trees are linked as files of their run folders."""
    names = ", ".join(each.folder.name for each in analyses)
    parts = [f"<h1>{escape(names)}</h1>", *(_table(comparison_table(each), None) for each in comparisons)]
    parts.append(f'<div class="figures">{"".join(_figure(each) for each in figures(analyses))}</div>')
    for each in analyses:
        if len(analyses) > 1:
            parts.append(f"<h1>{escape(each.folder.name)}</h1>")
        parts += [_table(table, each.folder) for table in tables(each)]
    head = f'<meta charset="utf-8"><title>{escape(names)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>"


def _figure(figure: Figure) -> str:
    drawn = (
        bars(figure.series[0][1], figure.names, figure.x_title, figure.top)
        if figure.names
        else lines(figure.series, figure.x_title)
    )
    return f"<figure><figcaption>{escape(figure.title)}</figcaption>{drawn}</figure>"


def _table(table: Table, folder: Path | None) -> str:
    head = ""
    if any(table.head):
        head = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in table.head) + "</tr>"
    rows = "".join("<tr>" + "".join(f"<td>{_cell(cell, folder)}</td>" for cell in row) + "</tr>" for row in table.rows)
    kind = "" if head else ' class="facts"'
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f"<h2>{escape(table.title)}</h2><table{kind}>{head}{rows}</table>{note}"


def _cell(text: str, folder: Path | None) -> str:
    if folder is not None and text.startswith("trees/") and (folder / text).is_file():
        return f'<a href="{escape((folder / text).resolve().as_uri())}">tree</a>'
    return escape(text)
