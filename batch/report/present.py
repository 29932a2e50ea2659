"""A report in the form that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from .analysis import Analysis
from .compare import Comparison
from .render import as_csv, as_json, as_markdown, as_text, comparison_table, tables


def present(analyses: Sequence[Analysis], comparisons: Sequence[Comparison], form: str) -> str:
    """Return the report on some runs as `form`: one of `render.FORMATS`."""
    if form == "json":
        return as_json(analyses, comparisons)
    if form == "csv":
        return as_csv(analyses)
    if form == "html":
        from .page import page

        return page(analyses, comparisons)
    parts = [table for each in analyses for table in tables(each)] + [comparison_table(each) for each in comparisons]
    return (as_markdown(parts) if form == "markdown" else as_text(parts)).rstrip("\n")
