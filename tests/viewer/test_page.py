"""The viewer's page as a text: what it holds, that it loads nothing, and that no text of a model becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify import Solution
from ramify.viewer import notebook_view, page, progress_view, tree_data

from .trees import HOSTILE, solution_of, tree_of


class Elements(HTMLParser):
    """Elements of a page with their attributes, and the data block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found = list[tuple[str, dict[str, str | None]]]()
        self.texts = dict[str, str]()
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found.append((tag, values))
        self._open = values.get("id") or tag

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.found]


def data_of(text: str) -> Any:
    return json.loads(Elements(text).texts["data"])


PLAIN = Elements(page([])).tags()


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=[]))), max_size=4))
def test_no_text_adds_an_element_and_every_text_comes_back(texts: list[str]) -> None:
    text = page([tree_data(tree_of(texts).to_dict(), question="".join(texts))])
    assert Elements(text).tags() == PLAIN
    assert [node["text"] for node in data_of(text)["runs"][0]["tree"]["nodes"][1:]] == texts


def test_the_page_is_ascii_and_loads_nothing() -> None:
    text = page([tree_data(tree_of(["ö漢🙂"]).to_dict())])
    assert text.isascii()
    addresses = [
        value for _, values in Elements(text).found for name, value in values.items() if name in ("src", "href")
    ]
    assert addresses == ["data:,"]
    assert "@import" not in text
    assert "innerHTML" not in text


@pytest.mark.parametrize(("runs", "connects"), [([], "'none'"), (None, "'self'")])
def test_the_policy_allows_no_script_but_the_pages_own(runs: list[Any] | None, connects: str) -> None:
    (policy,) = [each["content"] for tag, each in Elements(page(runs)).found if each.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert f"connect-src {connects};" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert data_of(page(runs))["live"] is (runs is None)


def test_the_script_holds_no_end_of_a_script() -> None:
    (script,) = re.findall(r"<script>(.*)</script>", page([]), re.DOTALL)
    assert "</" not in script and "<!--" not in script and "<script" not in script


def test_data_of_a_solution_are_without_what_nobody_sees() -> None:
    solution = solution_of(tree_of(["one", "two"]))
    (run,) = data_of(solution.to_html())["runs"]
    assert run["winner"] == solution.winner == 1
    assert run["solution"]["strategy"]["temperature"] is None
    assert all("tokens" not in node for node in run["tree"]["nodes"])
    assert all("text" not in each for each in run["solution"]["candidates"])


def test_runs_stand_on_one_page_with_their_names() -> None:
    first, second = solution_of(tree_of(["one"])), solution_of(tree_of(["two"]))
    runs = data_of(first.to_html(second, titles=["a"]))["runs"]
    assert [run["title"] for run in runs] == ["a", None]


def test_a_solution_without_a_tree_keeps_its_text() -> None:
    solution = Solution.from_dict(solution_of(tree_of(["one"])).to_dict())
    (run,) = data_of(solution.to_html())["runs"]
    assert (run["tree"], run["solution"]["text"]) == (None, "one")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_notebook_shows_text_as_text_and_the_page_in_a_sandbox(hostile: str) -> None:
    tree = tree_of([hostile])
    shown = Elements(solution_of(tree, hostile)._repr_html_())
    assert shown.tags() == ["div", "p", "p", "strong", "iframe"]
    (frame,) = [values for tag, values in shown.found if tag == "iframe"]
    assert frame["sandbox"] == "allow-scripts"
    assert frame["srcdoc"] is not None and Elements(frame["srcdoc"]).tags() == PLAIN
    assert Elements(tree._repr_html_()).tags() == ["div", "p", "iframe"]


def test_a_notebook_keeps_no_very_large_tree() -> None:
    data = tree_data(tree_of(["one"]).to_dict())
    assert "<iframe" in notebook_view([data], 3000)
    assert "5,000 steps" in notebook_view([data], 5001)
    assert "<iframe" not in notebook_view([data], 5001)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_progress_shows_text_as_text(hostile: str) -> None:
    shown = progress_view(question=hostile, votes=[(hostile, 2, 1.5)], fraction=0.5, facts=[hostile], lines=[hostile])
    assert not {"script", "img", "svg"} & set(Elements(shown).tags())
    assert "50%" in shown
    assert "budget" not in progress_view(question="q", fraction=0.0)
