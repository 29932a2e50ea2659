"""Published reward models: the format of each family, and the marks that identify its files.

Formats were checked against the code or the cards that their authors published, except where a comment says so. No
weights of theirs were at hand; tests/reward/test_families.py compares each with a separate implementation of its
recipe on small random models of the same architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .specs import RewardSpec, VerifierSpec

LLAMA_3_SYSTEM = "\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
"""Text of the system turn that the chat template of Llama 3.1 writes when it is given none."""

MATH_INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class Family:
    """A published format.

    `architectures` are those of its GGUF files. `marks` are parts of the names, in lower case with dashes, under
    which its models are known; a file is taken for one of the family only if its metadata has such a name.
    """

    spec: RewardSpec | VerifierSpec
    architectures: frozenset[str]
    marks: tuple[str, ...]


# arXiv 2312.08935; its model card reads "+" against "-" at each "ки" of "{question} Step 1: ... ки\nStep 2: ...".
_MATH_SHEPHERD = RewardSpec(
    name="math-shepherd",
    prompt_template="<s>{question} ",
    step_template="{step} ки\n",
    tag=" ки",
    good=" +",
    bad=" -",
    aggregation="min",
    context_limit=4096,
    strip_steps=True,
)

# RLHFlow/RLHF-Reward-Modeling, math-rm: each step is a user's turn, the first one after the question and a space;
# read is the token that predicts the assistant's "+" or "-", and all earlier answers are "+". Both of its models,
# trained on Mistral's and on Deepseek's solutions, take this form; the latter's steps end in blank lines.
_RLHFLOW = RewardSpec(
    name="rlhflow",
    prompt_template=(
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>{LLAMA_3_SYSTEM}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n{question} "
    ),
    first_step_template="{step}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n+<|eot_id|>",
    step_template=(
        "<|start_header_id|>user<|end_header_id|>\n\n{step}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n+<|eot_id|>"
    ),
    tag="+",
    good="+",
    bad="-",
    read_at="before_tag",
    context_limit=8192,
    strip_steps=True,
    joined="all",
)

# arXiv 2502.06737, evaluation/prm_models/prm_llama.py and model_train/prm_datasets.py: the one token of a space and
# four newlines ends each step. UW-Madison's Llama-PRM800K has the same format.
_VERSAPRM = RewardSpec(
    name="versaprm",
    prompt_template="<|begin_of_text|>{question} \n\n",
    step_template="{step} \n\n\n\n",
    tag=" \n\n\n\n",
    good="+",
    bad="-",
    aggregation="min",
    context_limit=8192,
    strip_steps=True,
    joined="all",
)

# arXiv 2408.00724, hf_score.py: the score is the sigmoid of the mean of all logits, and the converted file repeats the
# head's two rows over the whole vocabulary, so that rows 0 and 1 have the same mean. The prompt of its own search is
# not in its repository; this is the one of hf_score.py.
_LLEMMA_REBASE = RewardSpec(
    name="llemma-rebase",
    prompt_template=f"<s>{{question}}\n{MATH_INSTRUCTION}",
    first_step_template="{step} ки",
    step_template=" {step} ки",
    tag=" ки",
    good=0,
    bad=1,
    activation="sigmoid_mean",
    context_limit=1024,
)

# arXiv 2504.16828, mukhal/ThinkPRM: utils/helper.py for the prompt, prm/thinkprm_api.py for stops and verdict. There
# "yes" and "no" are tried after a text that ends in a space, which their token takes over.
_THINKPRM = VerifierSpec(
    name="thinkprm",
    instruction=(
        "You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\n{question}\n\n"
        "[Solution]\n\n{solution}\n\nReview and critique each step in the proposed solution to determine whether each "
        "step is correct. If the solution is incomplete, only verify the provided steps."
    ),
    opening="\nLet's verify step by step:",
    decision="\nIs the solution correct?",
    yes=" yes",
    no=" no",
    stops=("Is the solution correct?", "</think>"),
    max_tokens=8172,
    context_limit=16384,
)

_DEMO = RewardSpec(
    name="ramify-demo-prm",
    prompt_template="<|user|>{question}<|assistant|>",
    step_template="{step}<|step|>",
    tag="<|step|>",
    good="<|good|>",
    bad="<|bad|>",
    context_limit=512,
)


def skywork_spec(bos: str) -> RewardSpec:
    """Return the format of Skywork-o1-Open-PRM (SkyworkAI/skywork-o1-prm-inference); conversion fills in the row.

    The question and its newline are tokenised as one, each step by itself, and a newline token closes each step;
    newlines within steps become spaces. `bos` is the tokenizer's begin-of-sequence token, "" if it has none.
    """
    return RewardSpec(
        name="skywork-o1-prm",
        prompt_template=f"{bos}{{question}}\n",
        step_template="{step}\n",
        tag="\n",
        good=0,
        activation="sigmoid",
        context_limit=4096,
        strip_steps=True,
        newline=" ",
        joined="prompt",
    )


def trl_spec(bos: str, separator: str) -> RewardSpec:
    """Return the format of TRL's PRMTrainer (trl/trainer/prm_trainer.py); conversion fills in the rows.

    The prompt, each step and the separator after it are tokenised by themselves; the label stands at the separator,
    which must be one token. `bos` is as in `skywork_spec`.
    """
    return RewardSpec(
        name="trl-prm",
        prompt_template=f"{bos}{{question}}",
        step_template=f"{{step}}{separator}",
        tag=separator,
        good=1,
        bad=0,
        context_limit=2048,
        strip_steps=True,
    )


def qwen_prm_spec() -> RewardSpec:
    """Return the format of Qwen2.5-Math-PRM (its model card; arXiv 2501.07301); conversion fills in the head's file.

    Qwen2.5-Math-7B-PRM800K has the same one. Steps are separated by blank lines.
    """
    return RewardSpec(
        name="qwen-math-prm",
        head="mlp",
        head_file="head.safetensors",
        prompt_template=(
            f"<|im_start|>system\n{MATH_INSTRUCTION}<|im_end|>\n"
            "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        ),
        step_template="{step}<extra_0>",
        step_separator="\n\n",
        tag="<extra_0>",
        good=1,
        bad=0,
        aggregation="product",
        context_limit=4096,
        strip_steps=True,
        joined="all",
    )


FAMILIES: tuple[Family, ...] = (
    Family(_DEMO, frozenset({"qwen2"}), ("ramify-demo-prm",)),
    Family(_MATH_SHEPHERD, frozenset({"llama", "mistral"}), ("math-shepherd",)),
    Family(_RLHFLOW, frozenset({"llama"}), ("prm-mistral-data", "prm-deepseek-data")),
    Family(_VERSAPRM, frozenset({"llama"}), ("versaprm", "llama-prm800k")),
    Family(_THINKPRM, frozenset({"qwen2"}), ("thinkprm",)),
    Family(_LLEMMA_REBASE, frozenset({"llama"}), ("llemma-reward", "llemma-7b-reward", "llemma-34b-reward")),
)
"""Formats that a GGUF file can have without having been converted by ramify."""

BUILTIN_SPECS: Mapping[str, RewardSpec | VerifierSpec] = MappingProxyType(
    {family.spec.name: family.spec for family in FAMILIES}
)
"""Built-in specs by name."""
