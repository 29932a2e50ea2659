"""Rewards from likelihoods alone, on tiny models: against transformers, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.config import EngineConfig
from ramify.engine.control.scoring import scored_step
from ramify.engine.loading import load_models, load_reward
from ramify.errors import RewardContextExceeded, RewardError, UsageError
from ramify.reward.protocol import ScoredStep, ToldPart
from ramify.search.node import FinishReason, Origin
from ramify.search.tree import SearchTree

pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ramify.engine.library.convert.converting import ConvertOptions, convert_reward  # noqa: E402

from .conftest import Agreement  # noqa: E402
from .tiny_checkpoints import QWEN2, byte_level, save, seeded, settings, texts  # noqa: E402

SPEC = (
    '{"name":"none","prompt_template":"{question}","step_template":"{step}<s>","tag":"<s>","good":0,"bad":1,'
    '"context_limit":1024}'
)
CONFIG = EngineConfig(isolation="thread", threads=1, prompt_preset="plain", step_format="line")
TEXTS = texts(12, seed=3)


class Tiny:
    """A tiny language model as a file, and the same in transformers."""

    def __init__(self, folder: Path, seed: int) -> None:
        tokenizer = byte_level(QWEN2, ["<s>", "<e>"])
        seeded(seed)
        config = transformers.Qwen2Config(**settings(tokenizer.get_vocab_size()))
        self.model = transformers.Qwen2ForCausalLM(config).eval()
        self.tokenizer = save(folder / f"m{seed}", tokenizer, self.model, eos="<e>")
        self.path = folder / f"m{seed}.gguf"
        convert_reward(folder / f"m{seed}", self.path, ConvertOptions(spec=SPEC, kind="f32"))

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def rows(self, question: str, steps: Sequence[str]) -> tuple[Any, list[int]]:
        """Return the log probabilities [tokens, vocabulary] that the generated tokens were drawn from, and these."""
        prompt = self.encode(question)
        written = [token for step in steps for token in self.encode(step)]
        with torch.no_grad():
            logits = self.model(torch.tensor([prompt + written])).logits[0].double()
        return logits.log_softmax(-1)[len(prompt) - 1 : -1], written

    def log_likelihood(self, question: str, steps: Sequence[str]) -> float:
        rows, written = self.rows(question, steps)
        return sum(float(row[token]) for row, token in zip(rows, written, strict=True))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("tiny"), 11)


def scored(steps: Sequence[str]) -> list[ScoredStep]:
    return [
        ScoredStep(node=number, parent=number - 1 or None, path=tuple(steps[:number]))
        for number in range(1, len(steps) + 1)
    ]


async def test_mean_log_probability_is_that_of_transformers(tiny: Tiny) -> None:
    async with AsyncExitStack() as stack:
        policy, reward = await load_models(stack, tiny.path, "mean-logprob", CONFIG)
        assert reward is not None and reward.parameters == policy.parameters
        for question, steps in TEXTS:
            session = await reward.open(question)
            for step in scored(steps):
                rows, _ = tiny.rows(question, step.path)
                expected = math.exp(tiny.log_likelihood(question, step.path) / len(rows))
                assert await session.score([step]) == pytest.approx([expected], rel=1e-2)
            await session.close()


async def test_sum_of_log_probabilities_is_that_of_transformers(tiny: Tiny) -> None:
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, "sum-logprob", CONFIG)
        assert reward is not None and reward.name == "sum-logprob"
        for question, steps in TEXTS[:3]:
            session = await reward.open(question)
            scores = await session.score(scored(steps))
            await session.close()
            for number, score in enumerate(scores, 1):
                assert math.log(score) == pytest.approx(tiny.log_likelihood(question, steps[:number]), rel=1e-2)
        _, own = await load_models(stack, tiny.path, "sum-logprob", CONFIG)
        assert own is not None
        session = await own.open("Q")
        told = ScoredStep(node=1, parent=None, path=("a", "b"), tokens=((5, 6), (7, 8)), logprobs=(-2.0, -4.0))
        assert await session.score([told]) == pytest.approx([math.exp(-6.0)])
        assert session.usage.evaluated_tokens == 0


async def test_self_certainty_is_that_of_transformers(tiny: Tiny) -> None:
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, "self-certainty", CONFIG)
        assert reward is not None
        for question, steps in TEXTS:
            session = await reward.open(question)
            rows, _ = tiny.rows(question, steps)
            size = rows.shape[1]
            certainty = -float((rows + math.log(size)).mean())
            expected = certainty / (certainty + math.log(size))
            scores = [(await session.score([step]))[0] for step in scored(steps)]
            assert scores[-1] == pytest.approx(expected, abs=1e-2)
            await session.close()


async def test_a_step_costs_its_own_tokens_alone(tiny: Tiny) -> None:
    question, steps = next(each for each in TEXTS if len(each[1]) >= 3)
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, "self-certainty", CONFIG)
        assert reward is not None
        session = await reward.open(question)
        for step in scored(steps):
            await session.score([step])
        lengths = [len(tiny.encode(text)) for text in (question, *steps)]
        assert (session.usage.evaluated_tokens, session.usage.reevaluated_tokens) == (sum(lengths), 0)
        # Siblings that come later are told by the same rows, and score as they do alone.
        late = [ScoredStep(node=20 + n, parent=n or None, path=(*steps[:n], "z y")) for n in range(len(steps))]
        scores = [(await session.score([step]))[0] for step in late]
        assert session.usage.reevaluated_tokens == 0
        fresh = await reward.open(question)
        alone = [(await fresh.score([ScoredStep(node=step.node, parent=None, path=step.path)]))[0] for step in late]
        assert scores == pytest.approx(alone, abs=1e-3)


async def test_what_the_policy_told_needs_no_model(tiny: Tiny) -> None:
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, "mean-logprob", CONFIG)
        assert reward is not None
        session = await reward.open("Q")
        told = ScoredStep(node=1, parent=None, path=("a", "b"), tokens=((5, 6), (7, 8)), logprobs=(-2.0, -4.0))
        # Six nats over four tokens.
        assert await session.score([told]) == pytest.approx([math.exp(-1.5)])
        assert session.usage.evaluated_tokens == 0
        # A policy that does not tell one of them is read.
        assert await session.score([replace(told, node=2, logprobs=(-2.0, None))]) != pytest.approx([math.exp(-1.5)])
        assert session.usage.evaluated_tokens > 0


@pytest.mark.parametrize("kind", ["mean-logprob", "sum-logprob", "self-certainty"])
async def test_a_text_that_was_put_in_is_no_evidence(tiny: Tiny, kind: str) -> None:
    question, own, result = "Q", "Add 2 and 3.\n", "output: 5\n"
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, kind, CONFIG)
        assert reward is not None
        session = await reward.open(question)
        put_in = ToldPart(0, (len(own), len(own) + len(result)))
        step = ScoredStep(node=1, parent=None, path=(own + result,))
        alone, with_result, all_of_it = await session.score(
            [ScoredStep(node=2, parent=None, path=(own,)), replace(step, told=(put_in,)), replace(step, node=3)]
        )
        assert with_result == pytest.approx(alone, rel=1e-2, abs=0)
        assert all_of_it != pytest.approx(alone, rel=1e-2, abs=0)
        # The same by the tokens of the policy.
        tokens = tuple(tiny.encode(own) + tiny.encode(result))
        span = (len(tiny.encode(own)), len(tokens))
        known = replace(step, node=4, tokens=(tokens,), told=(replace(put_in, tokens=span),))
        assert await session.score([known]) == pytest.approx([alone], rel=1e-2, abs=0)


async def test_the_result_of_a_tool_counts_for_no_tokens_of_the_policy(tiny: Tiny) -> None:
    tree = SearchTree()
    step = tree.complete(tree.add_pending(0).id, "call", (5, 6), -4.0)
    tree.go_on(step.id)
    result = tree.complete(tree.add_pending(step.id, origin=Origin.TOOL).id, "5 = é\n", tuple(range(200)), 0.0)
    end = tree.complete(tree.add_pending(result.id).id, "So 5.", (7, 8), -2.0, FinishReason.EOS)
    assert scored_step(tree, end.id).told == (ToldPart(0, (4, 11), (2, 202)),)
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, "mean-logprob", CONFIG)
        assert reward is not None
        session = await reward.open("Q")
        assert await session.score([scored_step(tree, end.id)]) == pytest.approx([math.exp(-6.0 / 4)])
        assert session.usage.evaluated_tokens == 0


async def test_the_policys_own_tokens_are_read_if_they_are_known(tiny: Tiny) -> None:
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, "self-certainty", CONFIG)
        assert reward is not None
        session = await reward.open("Q")
        # Single bytes, where the text would become one token.
        tokens = tuple(tiny.tokenizer.convert_tokens_to_ids(list("Step")))
        await session.score([ScoredStep(node=1, parent=None, path=("Step",), tokens=(tokens,))])
        assert session.usage.evaluated_tokens == len(tiny.encode("Q")) + 4


async def test_the_log_ratio_of_two_models(tiny: Tiny, tmp_path: Path, agreement: Agreement) -> None:
    other = Tiny(tmp_path, 12)
    spec = tmp_path / "implicit.toml"
    spec.write_text(
        f'name = "mine"\nhead = "implicit"\nreference = "{other.path}"\nbeta = 0.02\npreset = "plain"\n', "utf-8"
    )
    async with AsyncExitStack() as stack:
        reward = await load_reward(stack, tiny.path, replace(CONFIG, reward_spec=str(spec)))
        assert reward is not None and reward.name == "mine"
        for question, steps in TEXTS:
            session = await reward.open(question)
            ours: list[float] = []
            for step in scored(steps):
                ratio = tiny.log_likelihood(question, step.path) - other.log_likelihood(question, step.path)
                ours += await session.score([step])
                agreement.compare("from the recipe", ours[-1:], [1 / (1 + math.exp(-0.02 * ratio))], 2e-2)
            whole = await session.score([ScoredStep(node=95, parent=None, path=tuple(steps))])
            agreement.compare("of one pass", whole, ours[-1:], 1e-2)
            agreement.texts += 1
            await session.close()


async def test_what_is_too_long_or_empty_is_named(tiny: Tiny) -> None:
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, "self-certainty", CONFIG)
        assert reward is not None
        session = await reward.open("Q")
        with pytest.raises(RewardContextExceeded) as caught:
            await session.score([ScoredStep(node=4, parent=None, path=("7 " * 2000,))])
        assert caught.value.nodes == (4,)
        with pytest.raises(RewardError, match="node 5 has no text"):
            await session.score([ScoredStep(node=5, parent=None, path=("",))])
        with pytest.raises(RewardContextExceeded, match="the question takes"):
            await reward.open("7 " * 2000)


async def test_they_need_a_gguf_policy() -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(UsageError, match="the reward self-certainty reads the policy"):
            await load_reward(stack, "self-certainty", CONFIG)


async def test_another_model_reads_what_the_policy_wrote(tiny: Tiny, tmp_path: Path) -> None:
    other = Tiny(tmp_path, 12)
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, tiny.path, f"mean-logprob:{other.path}", CONFIG)
        assert reward is not None
        assert reward.name == f"mean-logprob:{other.path}"
        for question, steps in TEXTS[:4]:
            session = await reward.open(question)
            # What the policy told of its own probabilities says nothing about the other model's.
            told = [replace(each, logprobs=(-0.001,) * len(each.path)) for each in scored(steps)]
            values = await session.score(told)
            await session.close()
            for number, value in enumerate(values, 1):
                count = len(other.rows(question, steps[:number])[1])
                expected = math.exp(other.log_likelihood(question, steps[:number]) / count)
                assert value == pytest.approx(expected, abs=2e-3)
