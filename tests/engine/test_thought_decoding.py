"""Thoughts in the decoder: ends of their steps, marks that are kept out, and probes that cost no evaluation twice."""

from __future__ import annotations

import pytest

import ramify
from ramify.engine.runtime.decode.step_text import ThoughtText
from ramify.sampling_params import ThoughtSteps
from ramify.search.node import Origin

pytest.importorskip("torch")
pytest.importorskip("gguf")

from pathlib import Path

from ramify.models.recipe.export import export_gguf
from ramify.models.recipe.network import Decoder, Shape
from ramify.models.recipe.tokenizer import load_tokenizer, with_thoughts


def ends(text: str, *, opened: bool = True, least: int = 4, sentence_from: int = 100) -> list[str]:
    """Cut a text into the steps of a thought; a token is a word with the space after it."""
    steps, found, step = ThoughtSteps, list[str](), ""
    looked: ThoughtText | None = None
    for word in text.split("|"):
        if looked is None:
            looked = ThoughtText(
                steps(open="<t>", close="</t>", opened=opened, least=least, sentence_from=sentence_from)
            )
        step += word
        if looked.look(step):
            found.append(step)
            step, looked = "", None
            opened = True
    return [*found, step] if step else found


def test_a_step_of_a_thought_ends_with_a_line_or_later_with_a_sentence() -> None:
    assert ends("a|b|\n|c|\n|d") == ["ab\nc\n", "d"]
    assert ends("a|b|c|d|e|.| f|.| g") == ["abcde.", " f. g"]
    assert ends("a|b|c|d|3|.|1|4|!|x") == ["abcd3.14!", "x"]
    assert ends("a|</t>|\n\n|b") == ["a</t>", "\n\nb"]
    assert ends("a|.|b|.|c", sentence_from=2) == ["a.", "b.", "c"]


def test_a_text_that_begins_without_the_mark_is_no_thought() -> None:
    looked = ThoughtText(ThoughtSteps(open="<t>", close="</t>", opened=False, least=1, sentence_from=1))
    assert [looked.look(text) for text in ("\n", "\n<", "\n<t", "\n<t>", "\n<t>a.")] == [False] * 4 + [True]
    looked = ThoughtText(ThoughtSteps(open="<t>", close="</t>", opened=False, least=1, sentence_from=1))
    assert not looked.look("\n<") and not looked.over
    assert not looked.look("\n<b") and looked.over


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights whose template opens a thought."""
    tokenizer = with_thoughts(load_tokenizer())
    path = tmp_path_factory.mktemp("thinker") / "thinker.gguf"
    export_gguf(Decoder(Shape(2, 64, 2, 64), tokenizer.get_vocab_size(), 1024), tokenizer, path, "thinker")
    return path


@pytest.mark.parametrize("probes", [0, 2])
async def test_a_model_file_thinks_to_its_limit_and_evaluates_nothing_twice(thinker: Path, probes: int) -> None:
    settings = {
        "max_thinking_tokens": 60,
        "thinking_step_tokens": 16,
        "thinking_probes": probes,
        "max_path_tokens": 160,
    }
    async with ramify.Engine(str(thinker), reward=None, isolation="thread", threads=1) as engine:
        assert engine.policy.thoughts is not None  # pyright: ignore[reportAttributeAccessIssue]
        for strategy in (ramify.MajorityVote(width=3), ramify.Greedy()):
            solution = await engine.solve("What is 2+3?", strategy=strategy, seed=3, **settings)
            again = await engine.solve("What is 2+3?", strategy=strategy, seed=3, **settings)
            assert [c.text for c in again.candidates] == [c.text for c in solution.candidates]
            assert solution.tree is not None and solution.usage.policy.reevaluated_tokens == 0
            forced = [node for node in solution.tree if node.origin is Origin.FORCED]
            assert forced and all(node.text.endswith("</think>\n\n") for node in forced)
            for node in forced:
                thought = sum(each.token_count for each in solution.tree.path_nodes(node.id))
                assert 60 <= thought <= 68
            own = sum(node.token_count for node in solution.tree)
            assert solution.usage.policy.generated_tokens == own + solution.usage.policy.probe_tokens
            assert (solution.usage.policy.probe_tokens > 0) is (probes > 0)


async def test_a_model_file_is_kept_thinking(thinker: Path) -> None:
    async with ramify.Engine(str(thinker), reward=None, isolation="thread", threads=1) as engine:
        # Random weights close a thought now and then; each closing mark that is drawn is kept out so often.
        solution = await engine.solve(
            "What is 2+3?",
            strategy=ramify.MajorityVote(width=16),
            thinking_extend=2,
            max_path_tokens=600,
            sampling=ramify.SamplingParams(temperature=50.0),
            budget=ramify.Budget(generated_tokens=8000),
        )
    assert solution.tree is not None
    waits = [node for node in solution.tree if node.origin is Origin.FORCED and node.text == "Wait"]
    for node in waits:
        path = solution.tree.path_text(node.id)
        assert "</think>" not in path and path.count("Wait") <= 2
    assert waits
