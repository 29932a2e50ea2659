"""Files with a classifier of their own, which llama.cpp pools into one score a path."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.config import EngineConfig
from ramify.engine.loading import load_reward
from ramify.errors import ModelLoadError, RewardError, RewardSpecError
from ramify.reward.protocol import ScoredStep
from ramify.reward.spec_loading import parse_spec

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ramify.engine.library.convert.converting import ConvertOptions, convert_reward  # noqa: E402

from .conftest import Agreement  # noqa: E402
from .test_likelihoods import SPEC  # noqa: E402
from .tiny_checkpoints import QWEN2, byte_level, save, seeded, settings, texts  # noqa: E402

RANK = (
    '{"name":"ranker","head":"rank","prompt_template":"{question}<s>","inner_step_template":"{step}",'
    '"step_template":"{step}<e>","tag":"<e>","good":1,"activation":"identity","context_limit":1024,"joined":"all"}'
)

MISSING = RANK.replace('"good":1', '"good":7')


def with_classifier(source: Path, target: Path, weight: Any) -> None:
    """Copy a file and give it a classifier of two labels."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "qwen3")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_classifier_output_labels(["no", "yes"])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.add_tensor("cls.output.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


async def test_the_classifiers_probability_is_that_of_transformers(tmp_path: Path, agreement: Agreement) -> None:
    tokenizer = byte_level(QWEN2, ["<s>", "<e>"])
    seeded(31)
    size = {"num_labels": 2, "head_dim": 8, "pad_token_id": 0}
    config = transformers.Qwen3Config(**settings(tokenizer.get_vocab_size(), **size))
    model = transformers.Qwen3ForSequenceClassification(config).eval()
    language = transformers.Qwen3ForCausalLM(config)
    language.model.load_state_dict(model.model.state_dict())
    wrapped = save(tmp_path / "m", tokenizer, language, eos="<e>")
    convert_reward(tmp_path / "m", tmp_path / "plain.gguf", ConvertOptions(spec=SPEC))
    with_classifier(tmp_path / "plain.gguf", tmp_path / "rank.gguf", model.score.weight.detach().numpy())

    def recipe(question: str, steps: Sequence[str]) -> float:
        ids = wrapped.encode(f"{question}<s>{''.join(steps)}<e>", add_special_tokens=False)
        with torch.no_grad():
            return float(model(torch.tensor([ids])).logits[0].softmax(-1)[1])

    seen: list[float] = []
    async with AsyncExitStack() as stack:
        config_ = EngineConfig(isolation="thread", threads=1, reward_spec=RANK)
        reward = await load_reward(stack, tmp_path / "rank.gguf", config_)
        assert reward is not None
        for question, steps in texts(20, seed=4):
            session = await reward.open(question)
            for number in range(1, len(steps) + 1):
                step = ScoredStep(node=number, parent=number - 1 or None, path=tuple(steps[:number]))
                seen += await session.score([step])
                agreement.compare("from the recipe", seen[-1:], [recipe(question, steps[:number])], 2e-2)
            # Siblings in one call, whose sequences end in the same batch.
            pair = [ScoredStep(node=90 + n, parent=None, path=(text,)) for n, text in enumerate(("a", steps[0]))]
            expected = [recipe(question, step.path) for step in pair]
            agreement.compare("from the recipe", await session.score(pair), expected, 2e-2)
            whole = await session.score([ScoredStep(node=95, parent=None, path=tuple(steps))])
            agreement.compare("of one pass", whole, seen[-1:], 1e-2)
            agreement.texts += 1
            await session.close()
        wrong = await load_reward(stack, tmp_path / "rank.gguf", replace(config_, reward_spec=MISSING))
        assert wrong is not None
        session = await wrong.open("Q")
        with pytest.raises(RewardError, match="reads output 7 of a head with 2"):
            await session.score([ScoredStep(node=1, parent=None, path=("a",))])
    assert max(seen) - min(seen) > 0.5


async def test_a_file_without_a_classifier_is_refused() -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ModelLoadError, match="demo-prm has no classifier"):
            await load_reward(stack, "demo-prm", EngineConfig(isolation="thread", threads=1, reward_spec=RANK))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"inner_step_template":"{step}",', "", "needs an inner_step_template"),
        ('"good":1', '"good":"yes"', "good and bad are rows of its output"),
        ('"identity"', '"softmax"', "softmax needs both"),
    ],
)
def test_a_wrong_spec_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(RewardSpecError, match=message):
        parse_spec(RANK.replace(old, new))
