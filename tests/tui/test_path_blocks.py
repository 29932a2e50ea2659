"""Thoughts and calls of tools in the panel of the path: one line each until they are unfolded."""

from __future__ import annotations

import pytest

from ramify.answers.thoughts import ThoughtMarks, marks_in
from ramify.search.node import FinishReason, Node, Origin
from ramify.search.tree import ROOT
from ramify.testing import ScriptedModel
from ramify.tools.forms import Call
from ramify.tui.state.path_blocks import Block, call_text, path_blocks
from ramify.tui.state.run_view import RunView
from ramify.tui.widgets.detail import BlockText, NodeDetail

from .conftest import spec

CALL = '<tool_call>\n{"name": "calculator", "arguments": {"expression": "12*7"}}\n</tool_call>\n'
RESULT = "\n```output\n84\n```\n"
OPENED = ThoughtMarks("<think>", "</think>", opened=True)
TAGS = ThoughtMarks("<think>", "</think>")


def path_of(*steps: str | tuple[str, Origin], marks: ThoughtMarks | None = None) -> tuple[RunView, list[Node]]:
    """Return a view of a tree with one path, whose steps have a token for each word."""
    view = RunView("q")
    view.marks = marks
    parent = ROOT
    for step in steps:
        text, origin = (step, Origin.MODEL) if isinstance(step, str) else step
        node = view.tree.add_pending(parent, origin=origin)
        count = 0 if origin in (Origin.TOOL, Origin.FORCED) else len(text.split())
        view.tree.complete(node.id, text, (), -1.0, FinishReason.STEP, token_count=count)
        parent = node.id
    return view, view.tree.path_nodes(parent)


def shown(view: RunView, path: list[Node], *, unfolded: bool = False) -> list[str]:
    return [_said(each) for each in path_blocks(view, path, lambda fold: unfolded)]


def _said(block: Block) -> str:
    first, last = block.numbers
    return f"{first}-{last} {block.line or block.text.strip()}"


def test_a_thought_is_one_line_with_its_tokens():
    view, path = path_of("one two\n", "three four\n", "five\n</think>\n\n", "The answer is 1.", marks=OPENED)
    assert shown(view, path) == ["1-3 ▸ thought, 6 tokens in 3 steps", "4-4 The answer is 1."]
    assert shown(view, path, unfolded=True) == [
        "1-3 ▾ thought, 6 tokens in 3 steps", "1-1 one two", "2-2 three four", "3-3 five\n</think>",
        "4-4 The answer is 1.",
    ]  # fmt: skip


def test_a_thought_that_is_being_written_says_so():
    view, path = path_of("one two\n", marks=OPENED)
    assert shown(view, path) == ["1-1 ▸ thought, 2 tokens so far"]
    view, path = path_of("<think>\none two\n", marks=TAGS)
    assert shown(view, path) == ["1-1 ▸ thought, 3 tokens so far"]


def test_what_ends_a_thought_belongs_to_it():
    view, path = path_of("one two\n", ("</think>\n\n", Origin.FORCED), "The answer is 1.", marks=OPENED)
    assert shown(view, path) == ["1-2 ▸ thought, 2 tokens in 2 steps", "3-3 The answer is 1."]


def test_a_step_with_thought_and_reply_is_cut():
    view, path = path_of("Well. <think>\none two\n</think>\n\nThe answer is 1.", marks=TAGS)
    found = shown(view, path)
    assert found[0] == "1-1 Well." and found[2] == "1-1 The answer is 1."
    assert found[1].startswith("1-1 ▸ thought, about ") and found[1].endswith(" tokens")


def test_texts_without_thoughts_stay_as_they_are():
    view, path = path_of("one\n", "The answer is 1.")
    assert shown(view, path) == ["1-1 one", "2-2 The answer is 1."]
    view, path = path_of("one\n", "The answer is 1.", marks=TAGS)
    assert shown(view, path) == ["1-1 one", "2-2 The answer is 1."]


@pytest.mark.parametrize(
    "call",
    [
        CALL,
        '{"name": "calculator", "parameters": {"expression": "12*7"}}',
        '[TOOL_CALLS][{"name": "calculator", "arguments": {"expression": "12*7"}}]',
        '```json\n{"name": "calculator", "arguments": {"expression": "12*7"}}\n```',
    ],
)
def test_a_call_and_its_result_are_one_line(call):
    view, path = path_of("First.\n", call, (RESULT, Origin.TOOL), "It is 84.")
    assert shown(view, path) == ["1-1 First.", "2-3 ▸ ⚙ calculator('12*7') → 84", "4-4 It is 84."]
    unfolded = shown(view, path, unfolded=True)
    assert unfolded[1] == "2-3 ▾ ⚙ calculator('12*7') → 84" and call.strip() in unfolded[2] and "84" in unfolded[2]


def test_what_is_said_before_a_call_stays():
    view, path = path_of(f"I calculate.\n{CALL}", (RESULT, Origin.TOOL))
    assert shown(view, path) == ["1-1 I calculate.", "1-2 ▸ ⚙ calculator('12*7') → 84"]


def test_a_call_of_python_is_its_code():
    view, path = path_of("So:\n```python\nprint(12*7)\n```", (RESULT, Origin.TOOL))
    assert shown(view, path) == ["1-1 So:", r"1-2 ▸ ⚙ python('print(12*7)\n') → 84"]


def test_a_call_within_a_thought_ends_its_fold():
    view, path = path_of("one two\n", CALL, (RESULT, Origin.TOOL), "three\n</think>\n\n", "Done.", marks=OPENED)
    assert [line.split(",")[0] for line in shown(view, path)] == [
        "1-1 ▸ thought", "2-3 ▸ ⚙ calculator('12*7') → 84", "4-4 ▸ thought", "5-5 Done.",
    ]  # fmt: skip


def test_a_call_that_cannot_be_read_is_still_one_line():
    view, path = path_of("<tool_call>{", ("\n```output\nerror: no\n```\n", Origin.TOOL))
    assert shown(view, path) == ["1-2 ▸ ⚙ call → error: no"]


def test_calls_are_written_as_people_do():
    assert call_text(Call("f", {"a": 1})) == "f(1)"
    assert call_text(Call("f", {"a": 1, "b": "x"})) == "f(a=1, b='x')"


def test_the_marks_of_a_saved_tree_are_found():
    assert marks_in(["a b", "one </think> two"]) == OPENED
    assert marks_in(["<think>one </think> two"]) == TAGS
    assert marks_in(["<think> one"]) is None


class Thinker(ScriptedModel):
    """A scripted model whose prompt opens a thought."""

    thoughts = OPENED
    ends_at_answer = False
    answer_kind = check = None
    keeps_thinking = True

    async def open_as(self, question: str, kind: object) -> object:
        return await self.open(question)


def thinks(question: str, path: tuple[int, ...]) -> str:
    texts = ("one two three\n", "four\n</think>\n\n", f"I calculate.\n{CALL}", "", "The answer is \\boxed{84}.")
    return texts[min(len(path), 5) - 1]


@pytest.mark.parametrize("size", [(80, 40), (120, 40), (170, 50)])
async def test_folds_open_by_key_and_by_mouse(ui, size):
    asked = spec(strategy="rebase", width=1, tools="calculator")
    async with ui(size=size, spec=asked, model=Thinker(thinks)) as user:
        await user.ask()
        await user.over()
        await user.press("end")
        await user.until(lambda: "▸ thought, 5 tokens in 2 steps" in user.text())
        detail = user.run.query_one(NodeDetail)
        assert _folds(detail) == ["1–2 ▸ thought, 5 tokens in 2 steps", "▸ ⚙ calculator('12*7') → 84"]
        panel = "\n".join(line[detail.region.x :] for line in user.lines()[detail.region.y :])
        assert "calculator('12*7') → 84" in panel and "one two three" not in panel and "tool_call" not in panel
        await user.press("u")
        await user.until(lambda: "one two three" in _texts(detail))
        assert '"expression": "12*7"' in _texts(detail) and all("▾" in each for each in _folds(detail))
        await user.press("u")
        await user.until(lambda: "one two three" not in _texts(detail))
        detail.scroll_home(animate=False)
        await user.pilot.pause()
        await user.pilot.click(next(block for block in detail.query(BlockText) if _shown(block)))
        await user.until(lambda: "one two three" in _texts(detail))
        assert [each.strip()[0] for each in _folds(detail)] == ["1", "▸"] and "tool_call" not in _texts(detail)


def _shown(block: BlockText) -> bool:
    return block.query_one(".fold").display


def _folds(detail: NodeDetail) -> list[str]:
    return [str(block.query_one(".fold").render()).strip() for block in detail.query(BlockText) if _shown(block)]


def _texts(detail: NodeDetail) -> str:
    return "\n".join(str(each.render()) for block in detail.query(BlockText) for each in block.query(".text"))


async def test_a_saved_run_folds_its_thoughts(ui, store):
    asked = spec(strategy="rebase", width=1, tools="calculator")
    async with ui(spec=asked, model=Thinker(thinks)) as user:
        await user.ask()
        await user.over()
    async with ui(saved="last") as user:
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.press("end")
        await user.until(lambda: "▸ thought, 5 tokens in 2 steps" in user.text())
        await user.press("o")
        await user.until(lambda: "u unfolds" in user.text())
        await user.press("u")
        await user.until(lambda: "one two three" in user.text())
