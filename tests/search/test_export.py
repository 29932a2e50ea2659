"""Exports: every format holds the whole tree, whatever the steps say, and marks the winner."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import TreeError
from ramify.search.export import TREE_FORMATS, export_tree
from ramify.search.export.graphs import to_dot, to_graphml, to_mermaid
from ramify.search.export.labels import ink_on, score_colour, visible_nodes
from ramify.search.export.svg import to_svg
from ramify.search.node import FinishReason, NodeState, PruneReason
from ramify.search.strategies.rebase import Rebase
from ramify.search.tree import SearchTree
from ramify.text import cut, printable, shorten

from .scripted import play, random_script

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    '"];click n1 call alert()',
    "``` `a` ```",
    '%%{init: {"theme":"dark"}}%%',
    "\n---\nend\nsubgraph x",
    "1. one\n2. two",
    "</text></title><script>x</script>&amp;&]]>",
    '\\" \\N \\',
    "\x00\x1b[31m\x07\ud800.\udfff\ufffe",
    "]] )) }} |x| #quot; #35;",
    "\u202eevil",
    "style x fill:#f00;",
]


@pytest.fixture
def tree() -> SearchTree:
    """Root with 1 (finished), 2 (open, expanded) and 3 (pruned); below 2: 4 (pending) and 5 (pruned, scored)."""
    tree = SearchTree()
    for _ in range(3):
        tree.add_pending(0)
    tree.complete(1, "one ", (10, 11), -0.5, FinishReason.EOS)
    tree.finish(1, "42")
    tree.score(1, 0.9)
    tree.complete(2, "two ", (20,), -1.25)
    tree.score(2, 0.5)
    tree.prune(3, PruneReason.USER)
    tree.add_pending(2)
    tree.add_pending(2)
    tree.complete(5, 'say "hi"\n', (50, 51, 52))
    tree.score(5, 0.25)
    tree.prune(5, PruneReason.ALLOCATION)
    return tree


def with_texts(texts: list[str]) -> SearchTree:
    tree = SearchTree()
    for text in texts:
        tree.complete(tree.add_pending(0).id, text)
        tree.finish(len(tree) - 1, text)
    return tree


def winner_of(tree: SearchTree) -> int | None:
    return next((node.id for node in tree.finished_nodes()), None)


def mermaid_labels(text: str) -> dict[str, str]:
    """Labels by node as Mermaid reads them: entities spelled out, breaks as lines."""
    found = dict(re.findall(r'^  (\w+)[\[(]+"([^"]*)"[\])]+(?::::\w+)?$', text, re.MULTILINE))
    return {
        name: re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label.replace("<br/>", "\n"))
        for name, label in found.items()
    }


# --- every format ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", TREE_FORMATS)
@given(texts=st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=[]))), max_size=4))
def test_hostile_texts_can_be_written_and_xml_stays_xml(ending: str, texts: list[str]) -> None:
    tree = with_texts(texts)
    text = export_tree(tree, ending, winner=winner_of(tree), question=texts[0] if texts else "")
    text.encode("utf-8")
    if ending in (".graphml", ".svg"):
        root = ElementTree.fromstring(text)
        assert not [each for each in root.iter() if each.tag.endswith("script")]


def test_json_loads_again(tree: SearchTree) -> None:
    tree.node(2).text = HOSTILE[7]
    assert SearchTree.from_dict(json.loads(export_tree(tree, ".JSON"))).to_dict() == tree.to_dict()


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(TreeError, match=r"no tree format '\.png'; use one of \.json, \.graphml, \.dot, \.mmd, \.svg"):
        export_tree(SearchTree(), ".png")


@pytest.mark.parametrize("ending", TREE_FORMATS)
def test_a_tree_with_only_a_root(ending: str) -> None:
    assert export_tree(SearchTree(), ending)


# --- DOT -------------------------------------------------------------------------------------------------------


def test_dot_quotes_hold_whatever_a_step_says() -> None:
    text = to_dot(with_texts(HOSTILE), text_limit=200)
    labels = re.findall(r'^  \d+ \[label="((?:[^"\\]|\\.)*)", fillcolor=\w+\];$', text, re.MULTILINE)
    assert len(labels) == len(HOSTILE) + 1
    assert labels[7] == r"7 finished\n\\\" \\N \\\nanswer: \\\" \\N \\"
    assert "&amp;amp;&amp;]]>" in labels[6]
    assert "\x1b" not in text and "\x00" not in text


def test_graphml_keeps_line_breaks_and_replaces_what_xml_cannot_hold() -> None:
    texts = [each.text for each in ElementTree.fromstring(to_graphml(with_texts(["a\nb\x1b\ud800"]))).iter()]
    assert texts.count("a\nb\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}") == 2


# --- Mermaid ---------------------------------------------------------------------------------------------------


def test_mermaid_marks_states_scores_and_the_winner(tree: SearchTree) -> None:
    lines = to_mermaid(tree, winner=1).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n1[["1 finished 0.900<br/>“one”<br/>answer#58; 42"]]:::s4' in lines
    assert '  n2["2 open 0.500<br/>“two”"]:::s2' in lines
    assert '  n3["3 pruned#58; user"]:::nonepruned' in lines
    assert '  n5["5 pruned#58; allocation 0.250<br/>“say #34;hi#34;”"]:::s1pruned' in lines
    assert [line for line in lines if "->" in line] == [
        "  n0 --> n1",
        "  n0 --> n2",
        "  n0 -.-> n3",
        "  n2 --> n4",
        "  n2 -.-> n5",
    ]
    assert "  linkStyle 0 stroke:#d55e00,stroke-width:4px" in lines
    assert [line.split()[1] for line in lines if line.startswith("  style ")] == ["n0", "n1"]
    classes = {line.split()[1] for line in lines if line.startswith("  classDef")}
    assert {line.rpartition(":::")[2] for line in lines if ":::" in line} <= classes


def test_mermaid_labels_read_as_the_steps() -> None:
    tree = with_texts(HOSTILE)
    labels = mermaid_labels(to_mermaid(tree))
    for node in tree:
        if node.parent is not None:
            assert labels[f"n{node.id}"].split("\n")[1] == f"“{shorten(node.text, 40)}”"


def test_mermaid_stays_within_its_limits_and_counts_the_rest() -> None:
    tree = play(Rebase(width=400), random_script(1), burst=1000)
    assert len(tree) > 1000
    winner = winner_of(tree)
    assert winner is not None
    text = to_mermaid(tree, winner=winner)
    drawn = [int(each) for each in re.findall(r"^  n(\d+)[\[(]", text, re.MULTILINE)]
    hidden = sum(map(int, re.findall(r'"(\d+) more"', text)))
    assert len(drawn) + hidden == len(tree)
    assert {node.id for node in tree.path_nodes(winner)} <= {*drawn}
    assert len(re.findall(r"-->|-\.->|-\.-", text)) < 500
    assert len(text) < 50_000


def test_mermaid_draws_fewer_boxes_if_they_are_long_in_its_spelling() -> None:
    assert len(to_mermaid(with_texts(["\x7f" + '"' * 200] * 300))) < 50_000


# --- SVG -------------------------------------------------------------------------------------------------------


def groups(text: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(text).findall(f"{SVG}g")


def test_svg_shows_score_answer_reason_and_the_whole_step(tree: SearchTree) -> None:
    tree.node(2).text = "two\n" + "long " * 40
    drawn = groups(to_svg(tree, winner=1, question="How many?"))
    tips = [group.findtext(f"{SVG}title") for group in drawn]
    assert tips[0] == "How many?"
    assert tips[1] == "step 1, finished, on the winning path, score 0.9000, 2 tokens, answer 42\none "
    assert tips[2] == f"step 2, open, score 0.5000, 1 tokens\n{tree.node(2).text}"
    shown = [[text.text for text in group.findall(f"{SVG}text")] for group in drawn]
    assert shown[1] == ["0.90 = 42", "one"]
    assert shown[2][0] == "0.50 #2"
    assert shown[2][1] is not None and shown[2][1].endswith("…")
    assert shown[3] == ["pruned: user"]
    assert shown[4] == ["pending"]
    assert shown[5] == ["0.25 pruned: allocation", 'say "hi"']


def test_svg_colours_scores_and_marks_the_winning_path(tree: SearchTree) -> None:
    drawn = groups(to_svg(tree, winner=1))
    boxes = [group.findall(f"{SVG}rect") for group in drawn]
    assert [boxes[node][0].get("class") for node in range(6)] == ["n w", "n w", "n", "n g", "n g", "n g"]
    assert boxes[2][0].get("fill") == score_colour(0.5) == "#7d7c78"
    # What was given up is white with its score as a stripe; what finished has a second outline.
    assert [box.get("fill") for box in boxes[5]] == ["#ffffff", score_colour(0.25)]
    assert len(boxes[1]) == 2
    edges = ElementTree.fromstring(to_svg(tree, winner=1)).findall(f"{SVG}path")
    assert [edge.get("class") for edge in edges].count("e w") == 1


def test_svg_boxes_of_a_level_do_not_overlap() -> None:
    tree = play(Rebase(width=40), random_script(5))
    assert 150 < len(tree) <= 400
    columns: dict[float, list[float]] = {}
    for group in groups(to_svg(tree)):
        box = group.find(f"{SVG}rect")
        assert box is not None
        columns.setdefault(float(box.get("x", "")), []).append(float(box.get("y", "")))
    assert len(columns) == tree.depth + 1
    for tops in columns.values():
        assert all(low - high >= 38 for high, low in pairwise(sorted(tops)))


def test_svg_of_a_large_tree_is_dots_with_tooltips() -> None:
    tree = play(Rebase(width=800, max_depth=30), random_script(2, finish=0.1), burst=2000)
    assert len(tree) >= 5000
    drawn = groups(to_svg(tree, winner=winner_of(tree)))
    assert len(drawn) == len(tree)
    assert all(group.find(f"{SVG}circle") is not None and group.find(f"{SVG}text") is None for group in drawn)
    assert sum(len(group.findall(f"{SVG}circle")) == 2 for group in drawn) == tree.finished_count


def test_ink_can_be_read_on_every_score() -> None:
    # Contrast at the darkest and lightest end, and where black takes over from white.
    assert [ink_on(score_colour(score / 4)) for score in range(5)] == [
        "#ffffff",
        "#ffffff",
        "#000000",
        "#000000",
        "#000000",
    ]
    assert [score_colour(score) for score in (None, 0.0, 1.0)] == ["#ffffff", "#00224e", "#fee838"]


# --- texts and what is shown -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("two\n  lines\t", 20, "two lines"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("e\u0301" * 3, 3, "e\u0301" * 3),
        ("\x1b[2J", 10, "\N{REPLACEMENT CHARACTER}[2J"),
        ("gone", 0, ""),
        ("gone", 1, "…"),
    ],
)
def test_text_is_cut_by_columns(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_text_moves_no_cursor(text: str) -> None:
    plain = printable(text)
    assert len(plain) == len(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", plain)


def test_a_small_tree_is_shown_whole_and_a_large_one_by_interest(tree: SearchTree) -> None:
    assert visible_nodes(tree, None).nodes == visible_nodes(tree, 6).nodes == {0, 1, 2, 3, 4, 5}
    part = visible_nodes(tree, 2, winner=None)
    assert (part.nodes, part.hidden) == ({0, 1}, {0: 4})
    part = visible_nodes(tree, 4, winner=5)
    assert (part.nodes, part.hidden) == ({0, 2, 5, 1}, {0: 1, 2: 1})
    assert visible_nodes(tree, 1, winner=5).nodes == {0, 2, 5}


@given(st.integers(0, 300), st.integers(1, 80))
def test_shown_nodes_hang_together_and_all_are_counted(seed: int, limit: int) -> None:
    tree = play(Rebase(width=12), random_script(seed), burst=50)
    shown = visible_nodes(tree, limit, winner_of(tree))
    assert all(tree.node(each).parent in shown.nodes for each in shown.nodes if each)
    assert len(shown.nodes) + sum(shown.hidden.values()) == len(tree)
    assert set(shown.hidden) <= shown.nodes
    finished = {node.id for node in tree.finished_nodes()}
    if len(tree) <= limit:
        assert finished <= shown.nodes
    assert all(tree.node(each).state is not NodeState.PENDING for each in shown.nodes)


def test_every_export_has_the_scores_of_a_combined_rewards_parts(tree: SearchTree) -> None:
    tree.add_pending(2)
    tree.complete(6, "1+1=3\n", (60,))
    tree.score(6, 0.02, parts={"judge": 0.93, "arithmetic <b>": 0.02})
    for format in TREE_FORMATS:
        text = export_tree(tree, format)
        assert "judge" in text
        assert "arithmetic" in text
        assert "0.93" in text
        assert "<b>" not in text or format in (".json", ".dot")
    graph = ElementTree.fromstring(to_graphml(tree))
    keys = {key.get("attr.name"): key.get("id") for key in graph.iter() if key.tag.endswith("key")}
    values = [data.text for data in graph.iter() if data.get("key") == keys["score of judge"]]
    assert values == ["0.93"]
