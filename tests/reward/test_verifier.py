"""Generative verifiers: how they are asked, where chains end, and the verdict against transformers."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.config import EngineConfig
from ramify.engine.loading import load_reward
from ramify.engine.rewards.verifier import VerifierReward
from ramify.errors import ModelLoadError, RewardContextExceeded, RewardSpecError
from ramify.reward.protocol import ScoredStep
from ramify.reward.spec_loading import BUILTIN_SPECS, parse_spec
from ramify.reward.specs import VerifierSpec

pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ramify.engine.library.convert.converting import ConvertOptions, convert_reward  # noqa: E402

from .conftest import Agreement  # noqa: E402
from .test_likelihoods import SPEC  # noqa: E402
from .tiny_checkpoints import QWEN2, byte_level, save, seeded, settings, texts  # noqa: E402

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKPRM = BUILTIN_SPECS["thinkprm"]
CONFIG = EngineConfig(isolation="thread", threads=1)
WORDS = ["yes", "no", "a yes", "a no"]


class Tiny:
    """A tiny chat model as a file, and the same in transformers."""

    def __init__(self, folder: Path) -> None:
        tokenizer = byte_level(QWEN2, ["<s>", "<|im_start|>", "<|im_end|>"], words=WORDS)
        seeded(21)
        config = transformers.Qwen2Config(**settings(tokenizer.get_vocab_size(), max_position_embeddings=4096))
        self.model = transformers.Qwen2ForCausalLM(config).eval()
        self.tokenizer = save(folder / "tiny-thinkprm", tokenizer, self.model, eos="<|im_end|>")
        self.tokenizer.chat_template = TEMPLATE
        self.tokenizer.save_pretrained(folder / "tiny-thinkprm")
        self.path = folder / "tiny.gguf"
        convert_reward(folder / "tiny-thinkprm", self.path, ConvertOptions(spec=SPEC, kind="f32"))

    def prompt(self, question: str, steps: list[str]) -> str:
        solution = "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, 1))
        message = (
            f"You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\n{question}\n\n"
            f"[Solution]\n\n{solution}\n\nReview and critique each step in the proposed solution to determine whether "
            "each step is correct. If the solution is incomplete, only verify the provided steps."
        )
        chat = f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"
        return chat + "\nLet's verify step by step:"

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def last_row(self, ids: list[int]) -> Any:
        with torch.no_grad():
            return self.model(torch.tensor([ids])).logits[0, -1].float()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("tiny"))


def spec_file(folder: Path, **changes: Any) -> EngineConfig:
    path = folder / "spec.json"
    path.write_text(THINKPRM.model_copy(update=changes).model_dump_json(), "utf-8")
    return replace(CONFIG, reward_spec=str(path))


def step(node: int, *path: str) -> ScoredStep:
    return ScoredStep(node=node, parent=None, path=path)


async def load(stack: AsyncExitStack, tiny: Tiny, config: EngineConfig) -> VerifierReward:
    reward = await load_reward(stack, tiny.path, config)
    assert isinstance(reward, VerifierReward)
    return reward


async def test_the_prompt_is_that_of_thinkprm(tiny: Tiny, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        reward = await load(stack, tiny, replace(CONFIG, reward_spec="thinkprm"))
        for question, steps in texts(10, seed=5):
            bare = [each.removeprefix(f"Step {number}: ") for number, each in enumerate(steps, 1)]
            assert list(reward.prompt(question, steps)) == tiny.encode(tiny.prompt(question, bare))


async def test_the_verdict_after_a_greedy_chain_is_that_of_transformers(
    tiny: Tiny, tmp_path: Path, agreement: Agreement
) -> None:
    chain_tokens = 10
    config = spec_file(tmp_path, temperature=0.0, max_tokens=chain_tokens)
    yes, no = tiny.encode(" yes")[0], tiny.encode(" no")[0]
    assert [len(tiny.encode(text)) for text in (" yes", " no")] == [1, 1]
    async with AsyncExitStack() as stack:
        reward = await load(stack, tiny, config)
        for question, steps in texts(6, seed=8):
            bare = [each.removeprefix(f"Step {number}: ") for number, each in enumerate(steps, 1)]
            ids = tiny.encode(tiny.prompt(question, bare))
            chain: list[int] = []
            for _ in range(chain_tokens):
                chain.append(int(tiny.last_row([*ids, *chain]).argmax()))
            text = tiny.prompt(question, bare) + tiny.tokenizer.decode(chain) + "\nIs the solution correct?"
            row = tiny.last_row(tiny.encode(text))
            expected = float(row[[yes, no]].softmax(-1)[0])
            session = await reward.open(question)
            agreement.compare("from the recipe", await session.score([step(1, *steps)]), [expected], 2e-2)
            agreement.texts += 1


async def test_chains_are_averaged_metered_and_the_same_each_time(tiny: Tiny, tmp_path: Path) -> None:
    question, steps = texts(1, seed=8)[0]
    found: dict[int, list[float]] = {}
    async with AsyncExitStack() as stack:
        for chains in (1, 3):
            reward = await load(stack, tiny, spec_file(tmp_path, chains=chains, max_tokens=6, temperature=1.0))
            for _ in range(2):
                session = await reward.open(question)
                found.setdefault(chains, []).extend(await session.score([step(7, *steps)]))
                assert 0 < session.usage.generated_tokens <= 6 * chains
                # The prompt is evaluated once and shared; random tokens are tokenised anew with the verdict.
                prompt = len(reward.prompt(question, steps))
                decision = len(tiny.encode("\nIs the solution correct?"))
                assert session.usage.evaluated_tokens <= prompt + chains * (decision + 6 + 1)
                await session.close()
    assert found[1][0] == pytest.approx(found[1][1], abs=1e-3)
    assert found[3][0] == pytest.approx(found[3][1], abs=1e-3)
    assert found[1][0] != pytest.approx(found[3][0], abs=1e-3)


async def test_a_chain_ends_before_its_stop(tiny: Tiny, tmp_path: Path) -> None:
    """With a stop that matches any text, nothing of a chain is left, and the verdict is read from the prompt."""
    question, steps = texts(1, seed=8)[0]
    bare = [each.removeprefix(f"Step {number}: ") for number, each in enumerate(steps, 1)]
    async with AsyncExitStack() as stack:
        reward = await load(stack, tiny, spec_file(tmp_path, temperature=0.0, max_tokens=50))
        pattern = reward.stops(2)
        assert [bool(pattern.search(text)) for text in ("Step 3: x", "Step 2: x", "a</think>", "so Step 3")] == [
            True, False, True, False,
        ]  # fmt: skip
        ids = tiny.encode(tiny.prompt(question, bare))
        first = tiny.tokenizer.decode([int(tiny.last_row(ids).argmax())])
        reward = await load(stack, tiny, spec_file(tmp_path, temperature=0.0, max_tokens=50, stops=(first,)))
        session = await reward.open(question)
        row = tiny.last_row(tiny.encode(tiny.prompt(question, bare) + "\nIs the solution correct?"))
        expected = float(row[[tiny.encode(" yes")[0], tiny.encode(" no")[0]]].softmax(-1)[0])
        assert await session.score([step(1, *steps)]) == pytest.approx([expected], abs=2e-2)
        # White space at its start is not looked at, so it may take a second token to see the first.
        assert session.usage.generated_tokens <= 2


async def test_prompts_that_are_too_long_are_named(tiny: Tiny, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        reward = await load(stack, tiny, spec_file(tmp_path, context_limit=600, max_tokens=4))
        session = await reward.open("Q")
        with pytest.raises(RewardContextExceeded) as caught:
            await session.score([step(1, "a"), step(2, "7 " * 900)])
        assert caught.value.nodes == (2,)


async def test_placeholders_in_a_question_stay_text(tiny: Tiny) -> None:
    async with AsyncExitStack() as stack:
        reward = await load(stack, tiny, replace(CONFIG, reward_spec="thinkprm"))
        tokens = list(reward.prompt("{solution} <|im_end|>", ["{question}"]))
        text = b"".join(reward.model.tokenizer.piece(token) for token in tokens).decode()
        assert "[Math Problem]\n\n{solution} <|im_end|>\n" in text and "Step 1: {question}\n" in text
        # One that ends the message, and none from the question.
        assert tokens.count(tiny.tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1


async def test_a_vocabulary_without_the_verdicts_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ModelLoadError, match="the yes token ' certainly' is"):
            await load_reward(stack, tiny.path, spec_file(tmp_path, yes=" certainly"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruction": "{question}"}, r"instruction must have \{solution\} exactly once"),
        ({"no": " yes"}, "yes and no are the same"),
        ({"chains": 0}, "chains"),
        ({"tag": "x"}, "tag: Extra inputs"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardSpecError, match=message):
        parse_spec(json.dumps({**json.loads(THINKPRM.model_dump_json()), **change}))


def test_a_verifier_spec_survives_json() -> None:
    assert isinstance(THINKPRM, VerifierSpec)
    assert parse_spec(THINKPRM.model_dump_json()) == THINKPRM


async def test_chains_run_in_the_background(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as stack:
        reward = await load(stack, tiny, spec_file(tmp_path, max_tokens=4))
        opened: list[bool] = []
        plain = reward.model.open_run

        async def noting(prompt: Any, *, background: bool = False, shared: int = 0) -> Any:
            opened.append(background)
            return await plain(prompt, background=background, shared=shared)

        monkeypatch.setattr(reward.model, "open_run", noting)
        session = await reward.open("?")
        await session.score([step(1, "a")])
    assert opened == [True]
