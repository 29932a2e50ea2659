"""Published families on tiny models: our scores against each recipe, done with transformers, at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ramify.config import EngineConfig
from ramify.engine.loading import load_reward
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.protocol import RewardModel, ScoredStep

pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ramify.engine.library.convert.converting import ConvertOptions, convert_reward  # noqa: E402

from .conftest import Agreement  # noqa: E402
from .tiny_checkpoints import LLAMA3, QWEN2, byte_level, save, seeded, sentencepiece, settings, texts  # noqa: E402

TOLERANCE = 2e-2
SAME = 1e-2
"""How far decodes of other shapes may round apart, with keys and values in 16 bits."""
TEXTS = texts(50)
LLAMA3_SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|reserved_0|>"]
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip

Recipe = Callable[[str, list[str]], list[float]]
"""From a question and its steps to the score of each, as a family's authors compute them."""


def logits_of(model: Any, ids: Sequence[int]) -> Any:
    with torch.no_grad():
        return model(torch.tensor([list(ids)])).logits[0].float()


async def check(
    agreement: Agreement, source: Path, path: Path, recipe: Recipe, *, spec: str | None = None, name: str
) -> None:
    """Compare scores step by step with the recipe's, with one pass over each path, and with the reference route."""
    spread: list[float] = []
    async with AsyncExitStack() as stack:
        config = EngineConfig(isolation="thread", threads=1, reward_spec=spec)
        reward = await load_reward(stack, path, config)
        assert isinstance(reward, LmHeadReward) and reward.name == name
        for question, steps in TEXTS:
            ours = await step_by_step(reward, question, steps)
            agreement.compare("from the recipe", ours, recipe(question, steps), TOLERANCE)
            agreement.compare("of one pass", [await in_one_pass(reward, question, steps)], ours[-1:], SAME)
            agreement.texts += 1
            spread += ours
        reference = await load_reward(stack, source, config)
        for question, steps in TEXTS[:5]:
            route = await step_by_step(reference, question, steps)
            agreement.compare("of the reference route", route, recipe(question, steps), 1e-4)
    # Scores that were all alike would agree whatever was read.
    assert max(spread) - min(spread) > 0.5


async def step_by_step(reward: RewardModel, question: str, steps: Sequence[str]) -> list[float]:
    session = await reward.open(question)
    scores: list[float] = []
    for number in range(1, len(steps) + 1):
        step = ScoredStep(node=number, parent=number - 1 or None, path=tuple(steps[:number]))
        scores += await session.score([step])
    assert session.usage.reevaluated_tokens == 0
    await session.close()
    return scores


async def in_one_pass(reward: RewardModel, question: str, steps: Sequence[str]) -> float:
    session = await reward.open(question)
    (score,) = await session.score([ScoredStep(node=1, parent=None, path=tuple(steps))])
    await session.close()
    return score


async def test_math_shepherd(tmp_path: Path, agreement: Agreement) -> None:
    folder = tmp_path / "math-shepherd-mistral-7b-prm"
    tokenizer = sentencepiece()
    seeded(1)
    size = tokenizer.get_vocab_size()
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**settings(size), sliding_window=None)).eval()
    wrapped = save(folder, tokenizer, model, bos="<s>", eos="</s>")
    good, bad = wrapped.encode("+ -")[1:]
    tag = wrapped.encode("ки")[-1]

    def recipe(question: str, steps: list[str]) -> list[float]:
        ids = wrapped.encode(f"{question} " + "\n".join(f"{step} ки" for step in steps))
        scores = logits_of(model, ids)[:, [good, bad]].softmax(-1)[:, 0]
        return [float(scores[at]) for at, id in enumerate(ids) if id == tag]

    convert_reward(folder, tmp_path / "m.gguf")
    await check(agreement, folder, tmp_path / "m.gguf", recipe, name="math-shepherd")


async def test_rlhflow(tmp_path: Path, agreement: Agreement) -> None:
    folder = tmp_path / "Llama3.1-8B-PRM-Deepseek-Data"
    tokenizer = byte_level(LLAMA3, LLAMA3_SPECIAL)
    seeded(2)
    config = transformers.LlamaConfig(**settings(tokenizer.get_vocab_size()), rope_parameters=LLAMA3_ROPE)
    model = transformers.LlamaForCausalLM(config).eval()
    wrapped = save(folder, tokenizer, model, bos="<|begin_of_text|>", eos="<|eot_id|>")
    candidates = [wrapped.encode(sign, add_special_tokens=False)[-1] for sign in "+-"]

    def turn(role: str, content: str) -> str:
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n{content.strip()}<|eot_id|>"

    def recipe(question: str, steps: list[str]) -> list[float]:
        system = "\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        text = f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>{system}<|eot_id|>"
        scores: list[float] = []
        for number, step in enumerate(steps):
            text += turn("user", step if number else f"{question} {step}") + turn("assistant", "+")
            row = logits_of(model, wrapped.encode(text, add_special_tokens=False))[-3, candidates]
            scores.append(float(row.softmax(-1)[0]))
        return scores

    convert_reward(folder, tmp_path / "r.gguf")
    await check(agreement, folder, tmp_path / "r.gguf", recipe, name="rlhflow")


async def test_versaprm(tmp_path: Path, agreement: Agreement) -> None:
    folder = tmp_path / "checkpoint-17"
    tokenizer = byte_level(LLAMA3, LLAMA3_SPECIAL)
    seeded(3)
    config = transformers.LlamaConfig(**settings(tokenizer.get_vocab_size()), rope_parameters=LLAMA3_ROPE)
    model = transformers.LlamaForCausalLM(config).eval()
    wrapped = save(folder, tokenizer, model, bos="<|begin_of_text|>", eos="<|eot_id|>")
    bad, good = (wrapped.convert_tokens_to_ids(sign) for sign in "-+")
    (tag,) = wrapped.encode(" \n\n\n\n", add_special_tokens=False)

    def recipe(question: str, steps: list[str]) -> list[float]:
        text = f"{question} \n\n" + "".join(f"{step} \n\n\n\n" for step in steps)
        ids = [wrapped.bos_token_id, *wrapped.encode(text, add_special_tokens=False)]
        scores = logits_of(model, ids)[:, [bad, good]].softmax(-1)[:, 1]
        return [float(scores[at]) for at, id in enumerate(ids) if id == tag]

    convert_reward(folder, tmp_path / "v.gguf", ConvertOptions(spec="versaprm"))
    await check(agreement, folder, tmp_path / "v.gguf", recipe, name="versaprm", spec="versaprm")


async def test_llemma_of_the_rebase_paper(tmp_path: Path, agreement: Agreement) -> None:
    folder = tmp_path / "Llemma-reward-model"
    tokenizer = sentencepiece()
    seeded(4)
    size = tokenizer.get_vocab_size()
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings(size))).eval()
    with torch.no_grad():
        # The two rows of the head are repeated over the vocabulary, as in the published checkpoint.
        model.lm_head.weight.copy_(model.lm_head.weight[:2].repeat(size // 2, 1))
    wrapped = save(folder, tokenizer, model, bos="<s>", eos="</s>")
    tag = wrapped.encode(" ки")[-1]

    def recipe(question: str, steps: list[str]) -> list[float]:
        text = f"{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
        ids = wrapped.encode(text + "".join(f"{step} ки " for step in steps))
        scores = logits_of(model, ids).mean(-1).sigmoid()
        return [float(scores[at]) for at, id in enumerate(ids) if id == tag]

    convert_reward(folder, tmp_path / "l.gguf")
    await check(agreement, folder, tmp_path / "l.gguf", recipe, name="llemma-rebase")


async def test_skywork(tmp_path: Path, agreement: Agreement) -> None:
    folder = tmp_path / "Skywork-o1-Open-PRM"
    tokenizer = byte_level(QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    seeded(5)
    # More rows than tokens, as in the published checkpoints, and one matrix for both ends.
    config = transformers.Qwen2Config(**settings(tokenizer.get_vocab_size() + 12, tie_word_embeddings=True))
    model = transformers.Qwen2ForCausalLM(config).eval()
    weight, bias = torch.randn(1, 32), torch.randn(1)
    head = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    wrapped = save(folder, tokenizer, model, bos="<|endoftext|>", eos="<|im_end|>", extra=head)

    def recipe(question: str, steps: list[str]) -> list[float]:
        ids = wrapped.encode(f"{wrapped.bos_token}{question}\n")
        (newline,) = wrapped.encode("\n")
        places: list[int] = []
        for step in steps:
            ids += [*wrapped.encode(step), newline]
            places.append(len(ids) - 1)
        with torch.no_grad():
            states = model.model(torch.tensor([ids])).last_hidden_state[0]
        values = (states @ weight.T + bias).sigmoid()[:, 0]
        return [float(values[at]) for at in places]

    converted = convert_reward(folder, tmp_path / "s.gguf")
    assert converted.head_path is None
    await check(agreement, folder, tmp_path / "s.gguf", recipe, name="skywork-o1-prm")


@pytest.mark.parametrize("separator", ["\n", "\n\n"])
async def test_token_classifiers_of_trl(tmp_path: Path, separator: str, agreement: Agreement) -> None:
    folder = tmp_path / "prm"
    tokenizer = byte_level(QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    seeded(6)
    config = transformers.Qwen2Config(**settings(tokenizer.get_vocab_size() + 12, num_labels=2))
    model = transformers.Qwen2ForTokenClassification(config).eval()
    with torch.no_grad():
        model.score.bias.copy_(torch.tensor([0.7, -0.4]))
    wrapped = save(folder, tokenizer, model, eos="<|im_end|>")

    def recipe(question: str, steps: list[str]) -> list[float]:
        ids = wrapped.encode(question, add_special_tokens=False)
        places: list[int] = []
        for step in steps:
            ids += wrapped.encode(step, add_special_tokens=False) + wrapped.encode(separator, add_special_tokens=False)
            places.append(len(ids) - 1)
        scores = logits_of(model, ids).softmax(-1)[:, 1]
        return [float(scores[at]) for at in places]

    converted = convert_reward(folder, tmp_path / "t.gguf", ConvertOptions(separator=separator))
    await check(agreement, folder, converted.path, recipe, name="trl-prm", spec=converted.spec.model_dump_json())


async def test_reward_models_for_whole_answers(tmp_path: Path, agreement: Agreement) -> None:
    folder = tmp_path / "Reward-V9"
    tokenizer = byte_level(QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    seeded(8)
    config = transformers.Qwen2Config(**settings(tokenizer.get_vocab_size() + 12, num_labels=1, pad_token_id=0))
    model = transformers.Qwen2ForSequenceClassification(config).eval()
    wrapped = save(folder, tokenizer, model, eos="<|im_end|>")
    wrapped.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    wrapped.save_pretrained(folder)

    def recipe(question: str, steps: list[str]) -> list[float]:
        scores: list[float] = []
        for count in range(1, len(steps) + 1):
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "".join(steps[:count])}]
            ids = wrapped.encode(wrapped.apply_chat_template(turns, tokenize=False))
            with torch.no_grad():
                scores.append(float(model(torch.tensor([ids])).logits[0, 0].sigmoid()))
        return scores

    converted = convert_reward(folder, tmp_path / "a.gguf")
    assert converted.spec.tag == "\n"
    await check(agreement, folder, tmp_path / "a.gguf", recipe, name="Reward-V9")


async def test_qwen_prm(tmp_path: Path, agreement: Agreement) -> None:
    folder = tmp_path / "Qwen2.5-Math-PRM-7B"
    tokenizer = byte_level(QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"])
    seeded(7)
    config = transformers.Qwen2Config(**settings(tokenizer.get_vocab_size() + 12))
    backbone = transformers.Qwen2ForCausalLM(config).eval()
    head = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    with torch.no_grad():
        for layer in (head[0], head[2]):
            layer.weight.mul_(6.0)
    extra = {f"score.{name}": value for name, value in head.state_dict().items()}
    wrapped = save(folder, tokenizer, backbone, eos="<|im_end|>", extra=extra)
    (tag,) = wrapped.encode("<extra_0>")

    def recipe(question: str, steps: list[str]) -> list[float]:
        system = "Please reason step by step, and put your final answer within \\boxed{}."
        answer = "<extra_0>".join(steps) + "<extra_0>"
        turns = (("system", system), ("user", question), ("assistant", answer))
        ids = wrapped.encode("".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns))
        with torch.no_grad():
            scores = head(backbone.model(torch.tensor([ids])).last_hidden_state[0]).softmax(-1)[:, 1]
        return [float(scores[at]) for at, id in enumerate(ids) if id == tag]

    converted = convert_reward(folder, tmp_path / "q.gguf")
    assert converted.head_path == tmp_path / "q.head.safetensors"
    await check(agreement, folder, tmp_path / "q.gguf", recipe, name="qwen-math-prm")
