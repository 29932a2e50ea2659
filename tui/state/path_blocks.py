"""Blocks of a path as its panel shows it: steps, and thoughts and calls of tools that fold to one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ramify.answers.thoughts import ThoughtMarks
from ramify.search.export.labels import fenced_text
from ramify.search.node import Node, NodeState, Origin
from ramify.text import cut, one_line
from ramify.tools.forms import Call, Malformed, split_call

from .run_view import RunView

FOLDED, UNFOLDED = "▸", "▾"
CALL_COLUMNS = 44
"""Columns of a call on one line, before its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of the panel.

    `node` is the step whose score, state and answer belong to it, None for the line of a thought. `numbers` are the
    numbers of its first and last step on the path. `text` is what it shows, as it was written. `fold` names the fold
    whose line it is, by the id of its first step, None for other blocks; `line` is that line. `aside` says that the
    text is not part of the reply: a thought, a call, a result.
    """

    numbers: tuple[int, int]
    node: Node | None = None
    text: str = ""
    fold: int | None = None
    line: str = ""
    aside: bool = False

    @property
    def key(self) -> tuple[int | None, int, bool, bool]:
        """Key that tells it from other blocks of its tree."""
        return self.fold, self.node.id if self.node is not None else -1, self.aside, bool(self.line)


@dataclass(slots=True)
class _Piece:
    """A part of one step's text. `share` is how much of the step it is."""

    node: Node
    number: int
    text: str
    thought: bool = False
    share: float = 1.0


@dataclass(slots=True)
class _Fold:
    """The steps of one thought, or of one call with its result."""

    pieces: list[_Piece] = field(default_factory=list[_Piece])

    @property
    def name(self) -> int:
        return self.pieces[0].node.id

    @property
    def numbers(self) -> tuple[int, int]:
        return self.pieces[0].number, self.pieces[-1].number


def path_blocks(view: RunView, path: Sequence[Node], is_unfolded: Callable[[int], bool]) -> list[Block]:
    """Return the blocks of a path, first steps first.

    `is_unfolded` tells whether the fold of this name shows all that is in it.
    """
    blocks, thought = list[Block](), _Fold()
    pieces = list(_pieces(view, path))

    def end_thought(*, over: bool) -> None:
        if thought.pieces:
            blocks.extend(_thought_blocks(view, thought, is_unfolded, over=over))
            thought.pieces = []

    for place, piece in enumerate(pieces):
        result = pieces[place + 1] if place + 1 < len(pieces) else None
        calling = result is not None and result.node.origin is Origin.TOOL and result.node.parent == piece.node.id
        if piece.node.origin is Origin.TOOL:
            if not place or pieces[place - 1].node.id != piece.node.parent:
                end_thought(over=True)
                blocks += _call_blocks(_Fold([piece]), None, is_unfolded)
            continue
        before, calls = split_call(piece.text) if calling else (piece.text, None)
        if before.strip() or not calling:
            said = replace(piece, text=before)
            if piece.thought:
                thought.pieces.append(said)
            else:
                end_thought(over=True)
                blocks.append(Block(numbers=(piece.number, piece.number), node=piece.node, text=before))
        if calling and result is not None:
            end_thought(over=True)
            call = replace(piece, text=piece.text[len(before) :])
            blocks += _call_blocks(_Fold([call, result]), calls, is_unfolded)
    end_thought(over=False)
    return blocks


def _pieces(view: RunView, path: Sequence[Node]) -> Iterator[_Piece]:
    """Yield the steps, cut where a thought begins or ends."""
    marks = view.marks
    inside = marks is not None and marks.opened
    for number, node in enumerate(path, start=1):
        text = view.text_of(node)
        if marks is None or node.origin is Origin.TOOL:
            yield _Piece(node, number, text)
            inside = marks is not None and marks.is_thinking(view.path_text(node.id))
            continue
        parts = [each for each in _cut(text, marks, inside) if each[0].strip()]
        whole = sum(len(part) for part, _ in parts)
        inside = marks.is_thinking(view.path_text(node.id))
        for part, thought in parts or [(text, inside)]:
            yield _Piece(node, number, part, thought, len(part) / whole if whole else 1.0)


def _cut(text: str, marks: ThoughtMarks, inside: bool) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text, and whether each is a thought; marks belong to the thought."""
    rest = text
    while rest:
        before, found, after = rest.partition(marks.close if inside else marks.open)
        if inside:
            yield before + found, True
            rest, inside = after, not found
        else:
            yield before, False
            if not found:
                return
            before, closed, rest = after.partition(marks.close)
            yield found + before + closed, True
            inside = not closed


def _thought_blocks(
    view: RunView, thought: _Fold, is_unfolded: Callable[[int], bool], *, over: bool
) -> Iterator[Block]:
    pieces, numbers = thought.pieces, thought.numbers
    tokens = sum(view.tokens_of(each.node) * each.share for each in pieces)
    about = "" if all(each.share == 1 for each in pieces) else "about "
    steps = f" in {numbers[1] - numbers[0] + 1} steps" if numbers[1] > numbers[0] else ""
    opened = is_unfolded(thought.name)
    words = f"thought, {about}{tokens:,.0f} tokens{steps}{'' if over else ' so far'}"
    yield Block(numbers=numbers, fold=thought.name, line=f"{UNFOLDED if opened else FOLDED} {words}")
    if opened:
        for each in pieces:
            yield Block(numbers=(each.number, each.number), node=each.node, text=each.text, aside=True)


def _call_blocks(
    fold: _Fold, calls: tuple[Call, ...] | Malformed | None, is_unfolded: Callable[[int], bool]
) -> Iterator[Block]:
    result = fold.pieces[-1]
    called = cut("; ".join(map(call_text, calls)) if isinstance(calls, tuple) else "call", CALL_COLUMNS)
    opened = is_unfolded(fold.name)
    said = "at work" if result.node.state is NodeState.PENDING else one_line(fenced_text(result.text))
    line = f"{UNFOLDED if opened else FOLDED} ⚙ {called} → {said}"
    yield Block(numbers=fold.numbers, node=result.node, fold=fold.name, line=line)
    if opened:
        text = "".join(each.text for each in fold.pieces)
        yield Block(numbers=fold.numbers, text=text, aside=True)


def call_text(call: Call) -> str:
    """Return a call as people write it: a single argument without its name."""
    values = {name: repr(value) for name, value in call.arguments.items()}
    said = list(values.values()) if len(values) == 1 else [f"{name}={value}" for name, value in values.items()]
    return f"{call.name}({', '.join(said)})"
