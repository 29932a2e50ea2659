"""Critiques and revisions: what the policy is shown, what is evaluated, and that a saved run goes on the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

import ramify
from ramify.conversation import Example, examples_from_file
from ramify.engine.policy.prompts.prompt import SpecialTokens, bridge_tokens
from ramify.engine.policy.prompts.prompt_files import PRESETS
from ramify.errors import ModelLoadError, UsageError
from ramify.reward.testing import PieceTokenizer
from ramify.search.node import Origin
from ramify.search.votes import VoteRule
from ramify.testing import ScriptedModel, ScriptedReward

from .test_prompts import CHATML, DEMO, SPECIAL, TOKENIZER

NO_TOKENS = SpecialTokens()


def text_of(tokens: tuple[int, ...], tokenizer: PieceTokenizer = TOKENIZER) -> str:
    return b"".join(tokenizer.piece(token) for token in tokens).decode()


def bridge(template: str | None, *, preset: str = "plain", ended: tuple[int, ...] = ()) -> str:
    return text_of(bridge_tokens("Check it.", ended, PRESETS[preset], template, TOKENIZER, NO_TOKENS))


def test_a_bridge_is_what_the_template_puts_between_two_replies() -> None:
    assert bridge(DEMO) == "<|user|>Check it.<|assistant|>"
    assert bridge(CHATML, preset="math") == (
        "<|im_end|>\n<|im_start|>user\nCheck it.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_end_token_that_the_model_wrote_is_not_repeated() -> None:
    end = SPECIAL.index("<|im_end|>")
    assert bridge(CHATML, ended=(9, end)) == "\n<|im_start|>user\nCheck it.<|im_end|>\n<|im_start|>assistant\n"


def test_a_base_model_gets_a_paragraph() -> None:
    assert bridge(None) == "\n\nCheck it.\n"


def test_instructions_cannot_act_as_special_tokens() -> None:
    tokens = bridge_tokens("<|assistant|>", (), PRESETS["plain"], DEMO, TOKENIZER, NO_TOKENS)
    assert tokens.count(SPECIAL.index("<|assistant|>")) == 1


def test_a_template_without_replies_is_refused() -> None:
    questions_alone = "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(ModelLoadError, match="refuses a conversation"):
        bridge(questions_alone)


def script(question: str, path: tuple[int, ...]) -> str:
    return ["The answer is 1.", "The answer is 2.", "I see the answer is 9.", "Wrong.", "The answer is 3.", "So 3."][
        path[0]
    ]


STRATEGY = ramify.Refine(width=4, revisions=1, critique_prompt="Check.", revision_prompt="Again.")


async def test_a_revision_sees_the_draft_and_the_critique() -> None:
    model = ScriptedModel(script)
    async with ramify.Engine(model=model, reward=None) as engine:
        solution = await engine.solve("q", strategy=STRATEGY)
    assert [(turn.text, turn.instruction) for turn in model.turns[(4,)]] == [
        ("The answer is 1.", "Check."),
        ("I see the answer is 9.", "Again."),
    ]
    assert [(turn.text, turn.instruction) for turn in model.turns[(3,)]] == [("The answer is 2.", "Check.")]
    # The critique's 9 is no answer; the last text has none either.
    assert [each.answer for each in solution.candidates] == ["1", "2", "3", None]
    assert (0,) not in model.turns


async def test_drafts_stay_in_the_models_memory_while_they_may_be_talked_about() -> None:
    model = ScriptedModel(script)
    async with ramify.Engine(model=model, reward=None) as engine:
        await engine.solve("q", strategy=STRATEGY)
    assert model.released == []


async def test_the_reward_reads_answers_but_no_critiques() -> None:
    reward = ScriptedReward(lambda question, steps: 0.5)
    async with ramify.Engine(model=ScriptedModel(script), reward=reward) as engine:
        solution = await engine.solve("q", strategy=ramify.Refine(width=4, vote=VoteRule.BEST))
    assert solution.tree is not None
    assert [node.score for node in solution.tree.level(1)] == [0.5, 0.5, None, None, 0.5, 0.5]


async def test_a_run_cut_by_its_budget_goes_on_with_the_same_conversations() -> None:
    async with ramify.Engine(model=ScriptedModel(script), reward=None) as engine:
        whole = await engine.solve("q", strategy=STRATEGY)
        cut = await engine.solve("q", strategy=STRATEGY, budget=ramify.Budget(nodes=3))
        assert cut.tree is not None and len(cut.tree) < len(whole.tree or ())
        on = await engine.solve("q", strategy=STRATEGY, tree=cut.tree)
    assert on.tree is not None and whole.tree is not None
    assert {node.text for node in on.tree} == {node.text for node in whole.tree}
    assert on.answer == whole.answer


async def test_the_bundled_model_evaluates_no_token_of_a_conversation_twice() -> None:
    problem = ramify.generate_problems(steps=(2, 2), count=1, seed=5)[0]
    async with ramify.Engine(model="demo-s", reward=None, max_lanes=8, isolation="thread") as engine:
        solution = await engine.solve(problem, strategy=ramify.Refine(width=4, revisions=1), seed=3)
        tree = solution.tree
        assert tree is not None
        critiques = [node for node in tree if node.origin is Origin.CRITIQUE]
        revisions = [node for node in tree if node.origin is Origin.REVISION]
        assert len(critiques) == 2
        usage = solution.usage.policy
        assert usage.generated_tokens == tree.generated_tokens
        assert usage.reevaluated_tokens == 0
        drafts_only = await engine.solve(problem, strategy=ramify.MajorityVote(width=1), seed=3)
        # Beyond the question, what is read is what it was told: at least a few tokens a critique and a revision.
        assert usage.prompt_tokens > drafts_only.usage.policy.prompt_tokens + 5 * (len(critiques) + len(revisions))
        again = await engine.solve(problem, strategy=ramify.Refine(width=4, revisions=1), seed=3, tree=tree)
    assert again.answer == solution.answer


async def test_a_saved_critique_of_the_bundled_model_can_be_followed() -> None:
    problem = ramify.generate_problems(steps=(2, 2), count=1, seed=5)[0]
    strategy = ramify.Refine(width=2, revisions=1)
    async with ramify.Engine(model="demo-s", reward=None, isolation="thread") as engine:
        whole = await engine.solve(problem, strategy=strategy, seed=4)
        cut = await engine.solve(problem, strategy=strategy, seed=4, budget=ramify.Budget(nodes=2))
        on = await engine.solve(problem, strategy=strategy, seed=4, tree=cut.tree)
    assert [node.text for node in on.tree or ()] == [node.text for node in whole.tree or ()]
    assert len(whole.tree or ()) >= 3


def test_examples_may_hold_any_line_separator_of_unicode(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes('{"question": "a\u2028b", "answer": "c\x85d"}\r\n\r\n["e\u2029f", "g"]\n'.encode())
    assert examples_from_file(str(path)) == (Example("a\u2028b", "c\x85d"), Example("e\u2029f", "g"))
    path.write_bytes(b'["a", "b"]\n\n["c"]\n')
    with pytest.raises(UsageError, match=r"line 3 of .* is no example"):
        examples_from_file(str(path))
