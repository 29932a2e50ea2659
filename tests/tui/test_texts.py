"""Texts of models on the screen: LaTeX as Unicode, Markdown, and steps that begin alike."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.events import Paste
from textual.widgets import Markdown

from ramify.engine.engine import Engine
from ramify.reward.algebra import reward
from ramify.reward.callable import CallableReward
from ramify.testing import ScriptedModel
from ramify.text import width_of
from ramify.tui.state.markup import has_markdown, readable_markdown, readable_text, unicode_math
from ramify.tui.state.rows import excerpt, likenesses, wrapped
from ramify.tui.widgets.detail import NodeDetail

from .conftest import scores, spec


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (r"\frac{1}{2}x^2 + \sqrt{x+1}", "1/2x² + √(x+1)"),
        (r"\dfrac{a+b}{c}", "(a+b)/c"),
        (r"\frac12", "1/2"),
        (r"\boxed{\frac{3}{4}}", "[3/4]"),
        (r"3 \times 4 \cdot 5", "3 × 4 · 5"),
        ("x_i^{10}", "xᵢ¹⁰"),
        ("x^{a b!}", "x^(a b!)"),
        (r"\left(\frac{3}{4}\right)^2", "(3/4)²"),
        (r"90^\circ", "90°"),
        (r"\sqrt[3]{8}", "∛8"),
        (r"\alpha \le \Omega", "α ≤ Ω"),
        (r"3 \text{ bolts of fabric}", "3  bolts of fabric"),
        (r"\mathbb{R}^n", "ℝⁿ"),
        (r"5\% \{x\}", "5% {x}"),
        (r"\binom{5}{2}", "C(5, 2)"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", " a  = b \n c  = d "),
        (r"\begin{array}{cc} 1 & 2 \end{array}", " 1   2 "),
        (r"\unknown{3}", r"\unknown{3}"),
        (r"\frac{1", "1/"),
        ("}{^_", "}^_"),
    ],
)
def test_latex_is_unicode_text(source, shown):
    assert unicode_math(source) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"So $x^2*y = \frac{1}{2}$.", r"So x²\*y = 1/2."),
        ("It costs $5 and $7, or $5-$7.", "It costs $5 and $7, or $5-$7."),
        (r"a*b*c and **bold**", r"a\*b\*c and **bold**"),
        ("a * b", "a * b"),
        ("```\nx = a*b $x$\n```\nand $y^2$", "```\nx = a*b $x$\n```\nand y²"),
        (r"\(\boxed{18}\)", r"\[18\]"),
        (r"The answer is \boxed{18}", "The answer is [18]"),
        (r"\[ 2x \]", "\n\n2x\n\n"),
        (r"I wrote \begin{enum} and x^2", r"I wrote \begin{enum} and x^2"),
        (r"C:\Users", r"C:\Users"),
        ("still \\[ open", "still \\[ open"),
    ],
)
def test_mathematics_is_readable_in_markdown(text, shown):
    assert readable_markdown(text) == shown


def test_plain_lines_need_no_markdown():
    assert not has_markdown("So 3 x 4 = 12.\nThe answer is 12.")
    assert all(map(has_markdown, ["1. First", "a **b**", "# Head", "a\n- b", "`x`", "| a | b |", "a\n---"]))
    assert readable_text(r"$\frac{1}{2}$ of $5 is \boxed{2.5}") == "1/2 of $5 is [2.5]"


@settings(deadline=None)
@given(st.text(alphabet="\\{}[]()$^_&`*~ \nfracsqtboxed12", max_size=80))
def test_any_text_is_shown(text):
    for shown in (unicode_math(text), readable_markdown(text), readable_text(text)):
        assert isinstance(shown, str)


@pytest.mark.parametrize(
    "piece", ["$", "\\[", "`", "` ", "\\frac{", "{", "^", "\\sqrt", "```\n", "\\left.", "*a", "$a "]
)
def test_no_text_takes_long(piece):
    text = piece * (20_000 // len(piece))
    began_s = time.process_time()
    readable_markdown(text)
    unicode_math(text)
    assert time.process_time() - began_s < 3


def test_texts_are_compared_with_the_most_similar_one():
    assert likenesses(["abcx", "abcy", "abz", "q", "abcx", ""]) == [
        (3, None), (3, None), (2, None), (0, None), (3, 0), (0, None),
    ]  # fmt: skip


def test_the_part_that_differs_is_shown():
    line = "To find the number of pencils we have to multiply three by twelve"
    assert excerpt(line, 0, 30) == "To find the number of pencils…"
    assert excerpt(line, 48, 34) == "To find… multiply three by twelve"
    assert excerpt(line, 59, 50) == "To find the… we have to multiply three by twelve"
    assert excerpt(line, 10, 34) == "To find the number of pencils we…"
    assert excerpt(line, len(line), 20) == "To… three by twelve"


@settings(deadline=None)
@given(st.text(alphabet="ab 漢", max_size=80), st.integers(0, 80), st.integers(1, 40))
def test_excerpts_and_wrapped_lines_fit(text, shared, columns):
    line = " ".join(text.split())
    assert width_of(excerpt(line, min(shared, len(line)), columns)) <= columns
    lines = wrapped(line, max(2, columns), 4)
    assert 1 <= len(lines) <= 4
    assert all(width_of(each) <= max(2, columns) for each in lines)


LONG = "To find the number of pencils that are left in the end we have to look at what was given away, which is "


def alike(question: str, path: tuple[int, ...]) -> str:
    if len(path) == 1:
        return LONG + f"thing {path[0]}.\n"
    return "So **bold** words:\n\n1. $\\frac{1}{2}$ of `x*y`\n\nThe answer is 7."


async def test_steps_that_begin_alike_are_told_apart(ui):
    async with ui(spec=spec(strategy="majority", width=4), model=ScriptedModel(alike)) as user:
        await user.ask()
        await user.over()
        await user.until(lambda: "thing 3." in user.text())
        assert all(f"thing {number}." in user.text() for number in range(4))


async def test_wrapped_steps_are_shown_whole(ui):
    async with ui(spec=spec(strategy="majority", width=4), model=ScriptedModel(alike)) as user:
        await user.ask()
        await user.over()
        await user.press("home", "w")
        await user.until(lambda: "look at what" in user.text())
        await user.press("end", "up")
        tree = user.run.branches
        assert tree.cursor == tree.rows[-2].node
        assert any("thing 3." in line for line in user.lines())
        await user.press("w")
        await user.until(lambda: tree.virtual_size.height == len(tree.rows))


async def test_the_path_is_shown_as_markdown_or_as_it_was_written(ui):
    async with ui(spec=spec(strategy="majority", width=1), model=ScriptedModel(alike)) as user:
        await user.ask()
        await user.over()
        await user.press("end")
        await user.until(lambda: "1/2 of x*y" in user.text())
        assert "So bold words" in user.text()
        assert len(user.run.query_one(NodeDetail).query(Markdown)) == 1
        await user.press("m")
        await user.until(lambda: r"$\frac{1}{2}$ of `x*y`" in user.text())
        await user.press("o")
        await user.until(lambda: "m shows it" in user.text())
        await user.press("m")
        await user.until(lambda: "1/2 of x*y" in user.text())


@pytest.mark.parametrize("size", [(80, 24), (80, 40), (120, 40), (170, 50)])
async def test_panels_are_hidden_shown_and_moved(ui, size):
    async with ui(size=size, spec=spec(strategy="majority", width=4)) as user:
        await user.ask()
        await user.over()
        detail, side = user.run.query_one(NodeDetail), user.run.query_one("#side")
        shown = detail.display
        await user.press("v")
        assert detail.display is not shown
        await user.press("v")
        before = side.outer_size
        await user.press("less_than_sign")
        await user.until(lambda: side.outer_size != before)
        await user.press("greater_than_sign")
        await user.until(lambda: side.outer_size == before)
        for key in ("greater_than_sign", "less_than_sign", "comma", "full_stop"):
            await user.hold(key, 12)
            assert user.run.branches.size.height > 3
            assert user.run.branches.size.width > 10


async def test_the_path_shows_the_scores_of_a_combined_rewards_parts(ui):
    judge, check = CallableReward(lambda question, steps: 0.75, name="judge"), CallableReward(scores, name="check")

    def make(plan):
        return Engine(ScriptedModel(alike), reward(judge) * reward(check))

    async with ui(spec=spec(strategy="weighted", width=1), engine=make) as user:
        await user.ask()
        await user.over()
        await user.press("end")
        await user.until(lambda: "judge 0.750, check " in user.text())


WIDE = "一个盒子里有🍎"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_wide_characters_keep_columns_below_each_other(ui, size):
    model = ScriptedModel(lambda question, path: f"The answer is {WIDE}.")
    async with ui(size=size, model=model, spec=spec(strategy="majority", width=2)) as user:
        await user.ask(WIDE * 3)
        await user.over()
        width = size[0]
        assert all(width_of(line) <= width for line in user.lines())
        # The right border of each panel is straight.
        ends = {width_of(line) for line in user.lines() if line.endswith(("│", "╮", "╯"))}
        assert ends == {width}
        await user.press("escape")
        await user.until(lambda: "majority" in user.text())
        row = next(line for line in user.lines() if "majority" in line and "strategy" not in line)
        assert width_of(row[: row.index("majority")]) == width_of(" │  29 Nov 04:09           7  ")


async def test_a_pasted_text_stays_whole_and_its_beginning_is_seen_first(ui):
    text = "The first line 🍎.\n" + "Tom has 3 pears and buys 4 more pears. " * 130 + "\nHow many pears?"
    async with ui(spec=spec(strategy="majority", width=1)) as user:
        user.app.home.query_one("#question").text = ""
        user.app.home.query_one("#question").focus()
        user.app.post_message(Paste(text))
        await user.until(lambda: user.app.home.spec.question)
        assert user.app.home.spec.question == text
        await user.press("f6")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.still()
        await user.press("home")
        detail = user.run.query_one(NodeDetail)
        await user.until(lambda: detail.border_title == "Question" and detail.scroll_offset.y == 0)
        await user.until(lambda: detail.max_scroll_y > 0)
        assert "The first line" in "\n".join(user.lines()[detail.region.y : detail.region.bottom])
