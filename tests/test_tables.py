"""Tables whose cells hold what models and files say."""

from __future__ import annotations

import csv
import io

import pytest

from ramify.tables import csv_table, markdown_table, markdown_text

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![](http://example.org/pixel.png)",
    "`code` and ``more``",
    "a | b \\| c",
    "**bold** __strong__ ~~gone~~",
    "&lt;b&gt; &#60;",
    "<https://example.org>",
    "ends with \\",
    "two\nlines\r\n| of a table |",
    "\x1b]0;title\x07",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_cells_as_they_are(text):
    table = markdown_table(("head", text), [(text, "end")])
    lines = table.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in table and "\x07" not in table
    for line in (lines[0], lines[2]):
        bare = "".join(each[1:] if n else each for n, each in enumerate(line.replace("\\\\", "").split("\\")))
        assert bare.count("|") == 3 and not set("<>`*[]~") & set(bare)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_renderer_makes_no_markup_of_cells(text):
    renderer = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
    page = renderer.render(markdown_table(("a", "b"), [(text, "end")]))
    assert page.count("<td>") == 2
    inside = page[page.index("<td>") + 4 : page.index("</td>")]
    assert "<" not in inside


@pytest.mark.parametrize("text", ["\\frac{1}{2}", "a_b q4_k_m", "x^2 - 3", "5 & 6", "$5$", "100 %"])
def test_plain_texts_stay_readable(text):
    assert markdown_text(text) == text


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "=1"]
)
def test_formulas_in_csv_are_texts(text):
    (head, row) = csv.reader(io.StringIO(csv_table([text], [[text]]), newline=""))
    assert head == row == ["'" + text.replace("\r", "\n")]


@pytest.mark.parametrize("text", ["-5", "+5", "-0.25", "-.5", "1e-5", "-1e+5", "12", "a=b", "'quoted", "\\frac12", ""])
def test_numbers_and_texts_in_csv_stay(text):
    assert next(csv.reader(io.StringIO(csv_table([text, "b"], [])))) == [text, "b"]
    assert csv_table(["n"], [[-3], [None], [-0.5]]) == 'n\n-3\n""\n-0.5\n'
