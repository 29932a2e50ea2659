"""Formats of a report: text, Markdown, CSV, JSON and an HTML page that needs no network and no scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from ramify.files import export_text, make_subfolder
from ramify.plots import require_matplotlib
from ramify.tables import csv_table, markdown_table, markdown_text, one_line, text_table

from ..store.folder import TREES, read_solutions
from .analysis import Analysis, group_label
from .compare import Comparison
from .tables import Table, comparison_table, searches_table, tables

FORMATS = ("text", "json", "csv", "markdown", "html")
_ITEM_COLUMNS = (
    "id repeat status correct answer gold score agreement generated_tokens total_tokens flops seconds stop_reason error"
).split()
_LONGEST_CELL = 60
"""Most characters of a cell in text and Markdown."""

TreePages = Mapping[tuple[Path, str], str]
"""Addresses of pages of the viewer, by run folder and file of the tree in it."""


def present(
    analyses: Sequence[Analysis], comparisons: Sequence[Comparison], form: str, pages: TreePages | None = None
) -> str:
    """Return the report on some runs as `form`: one of FORMATS. `pages` are the tree pages that an HTML page links to.

    Raises:
        UsageError: if a page is asked for and matplotlib, which draws its figures, is not installed.
    """
    if form == "json":
        return as_json(analyses, comparisons)
    if form == "csv":
        return as_csv(analyses)
    if form == "html":
        return as_html(analyses, comparisons, pages or {})
    parts = [table for each in analyses for table in tables(each)] + [comparison_table(each) for each in comparisons]
    return (as_markdown(parts) if form == "markdown" else as_text(parts)).rstrip("\n")


def check_format(form: str) -> None:
    """Check that all that a format needs is installed.

    Raises:
        UsageError: if it is not.
    """
    if form == "html":
        require_matplotlib("the figures of an HTML page need", ", or use another --format")


def as_text(parts: Sequence[Table]) -> str:
    """Return aligned columns under their titles."""
    return "\n".join(
        "\n".join([each.title, text_table(each.head, _cut(each.rows), indent="  "), *_note(each, "  "), ""])
        for each in parts
    )


def as_markdown(parts: Sequence[Table]) -> str:
    """Return Markdown tables under headings."""
    return "\n".join(
        "\n".join(
            [
                f"## {markdown_text(one_line(each.title, _LONGEST_CELL))}",
                "",
                markdown_table(_cut([each.head])[0], _cut(each.rows)),
                *_note(each),
                "",
            ]
        )
        for each in parts
    )


def as_csv(analyses: Sequence[Analysis]) -> str:
    """Return one line for each item, with the fields of its problem; the run comes first if there are several.

    A field of the problem that has the name of a figure is called `metadata.NAME`.
    """
    fields = sorted({name for analysis in analyses for each in analysis.items for name in each.metadata})
    several = len(analyses) > 1
    rows = list[list[object]]()
    for analysis in analyses:
        run = [str(analysis.folder)] if several else []
        for each in analysis.items:
            values = [getattr(each, name) for name in _ITEM_COLUMNS]
            rows.append([*run, *values, *(group_label(each.metadata.get(name)) for name in fields)])
    own = {"run", *_ITEM_COLUMNS}
    named = [f"metadata.{name}" if name in own else name for name in fields]
    return csv_table([*(["run"] if several else []), *_ITEM_COLUMNS, *named], rows).rstrip("\n")


def as_json(analyses: Sequence[Analysis], comparisons: Sequence[Comparison]) -> str:
    """Return one object: that of the run, or `runs` and `comparisons` if there are several."""
    runs = [each.to_dict() for each in analyses]
    value = runs[0] if len(runs) == 1 else {"runs": runs, "comparisons": [each.to_dict() for each in comparisons]}
    return json.dumps(value, ensure_ascii=False, indent=2)


def write_tree_pages(analyses: Sequence[Analysis], report: Path) -> dict[tuple[Path, str], str]:
    """Write a page of the viewer for each saved tree, in a folder beside the file of the report, for `present`.

    Raises:
        OSError: if it cannot be written.
        RunFolderError: if a tree is damaged.
    """
    folder = report.with_name(f"{report.stem}-trees")
    found = dict[tuple[Path, str], str]()
    for number, analysis in enumerate(analyses):
        for key, solution in read_solutions(analysis.folder):
            if not found:
                make_subfolder(folder)
            name = f"{key}.html" if len(analyses) == 1 else f"{number + 1}-{key}.html"
            export_text(folder / name, solution.to_html(), errors="backslashreplace")
            found[analysis.folder, f"{TREES}/{key}.json"] = f"{quote(folder.name)}/{quote(name)}"
    return found


def as_html(analyses: Sequence[Analysis], comparisons: Sequence[Comparison], pages: TreePages) -> str:
    """Return one page with figures and tables; trees are links to `pages`, or to files of the run folders.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    check_format("html")
    from jinja2 import Environment

    from .figures import figures, figures_as_svg

    shown = figures(analyses)
    source = files("ramify.batch.report").joinpath("page.html.j2").read_text("utf-8")
    template = Environment(autoescape=True).from_string(source)
    return template.render(
        title=", ".join(each.folder.name for each in analyses),
        comparisons=[comparison_table(each) for each in comparisons],
        # The texts inside are escaped by the functions that draw them.
        figures=[{"title": figure.title, "svg": svg} for figure, svg in zip(shown, figures_as_svg(shown), strict=True)],
        runs=[{"folder": each.folder, "tables": [*tables(each), *searches_table(each)]} for each in analyses],
        tree_link=partial(_tree_link, pages),
    )


def _tree_link(pages: TreePages, cell: str, folder: Path | None) -> str | None:
    """Return the address of the tree that a cell names, None if it names none."""
    if folder is not None and (folder, cell) in pages:
        return pages[folder, cell]
    if folder is None or not cell.startswith("trees/") or not (folder / cell).is_file():
        return None
    return (folder / cell).resolve().as_uri()


def _cut(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[one_line(cell, _LONGEST_CELL) for cell in row] for row in rows]


def _note(table: Table, indent: str | None = None) -> list[str]:
    """Return the lines of the note: indented, or after an empty line if `indent` is None."""
    if not table.note:
        return []
    return ["", table.note] if indent is None else [f"{indent}{table.note}"]
