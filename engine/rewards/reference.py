"""The reference route: a reward model's checkpoint run by transformers and torch, every path anew.

It is slow and there to check other routes, or for architectures that llama.cpp does not have. Tokens come from the
same vocabulary that llama.cpp would read, so `gguf` is needed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from anyio import to_thread

from ramify.errors import UsageError
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.mlp import MlpHead
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.reward.specs import RewardSpec

from ..library.convert.architectures import shape_of
from ..library.convert.checkpoint import Checkpoint
from ..library.convert.converting import ConvertOptions, choose_spec, vocabulary_of
from ..library.convert.heads import RewardHead, head_of
from ..library.convert.vocabulary import read_vocabulary


def load_reference(folder: Path, spec: str | None, stack: ExitStack) -> LmHeadReward:
    """Return the reward model in a Hugging Face checkpoint; its vocabulary is closed with `stack`.

    `spec` is a built-in name or a file, None for the format that goes with the kind of head.

    Raises:
        UsageError: if transformers is missing, or the checkpoint's format is not known.
        ModelLoadError: if its files are damaged.
    """
    checkpoint = Checkpoint(folder)
    shape, head = shape_of(checkpoint), head_of(checkpoint)
    vocabulary = read_vocabulary(checkpoint, shape.vocabulary)
    tokenizer = stack.enter_context(vocabulary_of(shape, vocabulary, {"general.name": folder.name}))
    ids = list(range(len(head.rows)))
    chosen = choose_spec(checkpoint, head, ids, "head", ConvertOptions(spec=spec), tokenizer)
    return LmHeadReward(
        chosen if head.kind == "none" else _on_states(chosen),
        tokenizer,
        TorchScorer(folder, language_model=head.kind == "none"),
        parameters=checkpoint.parameter_count(),
        context_tokens=shape.context,
        head=None if head.kind == "none" else _network(head),
    )


class TorchScorer:
    """Runs paths through a transformers model, on CUDA if there is any; keeps nothing between calls.

    Raises:
        UsageError: if transformers or torch is not installed.
    """

    def __init__(self, folder: Path, *, language_model: bool) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise UsageError("this route needs transformers and torch", "pip install transformers torch") from error
        self._torch: Any = torch
        # Bars, and a table of the head's tensors, which are read elsewhere.
        cast("Any", transformers.utils.logging).disable_progress_bar()
        cast("Any", transformers.utils.logging).set_verbosity_error()
        kind = transformers.AutoModelForCausalLM if language_model else transformers.AutoModel
        loaded: Any = cast("Any", kind).from_pretrained(folder, dtype=torch.float32)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = loaded.eval().to(self._device)

    async def open_run(self, prompt: Sequence[int]) -> TorchRun:
        """Start a question."""
        return TorchRun(self)

    def evaluate(self, request: ReadRequest) -> ReadResult:
        """Run one whole path."""
        with self._torch.no_grad():
            output = self._model(self._torch.tensor([list(request.tokens)], device=self._device))
            rows = output.logits[0] if request.what == "logits" else output.last_hidden_state[0]
            wanted = rows[list(request.read)].float().cpu().numpy()
        values = wanted[:, list(request.ids)] if request.what == "logits" else wanted
        return ReadResult(
            node=request.node,
            logits=tuple(tuple(map(float, row)) for row in values),
            evaluated_tokens=len(request.tokens),
        )


class TorchRun:
    """A question of a TorchScorer; it holds nothing."""

    def __init__(self, scorer: TorchScorer) -> None:
        self._scorer = scorer

    async def evaluate(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Run the whole paths, one after the other, in a thread."""
        return await to_thread.run_sync(lambda: [self._scorer.evaluate(each) for each in requests])

    async def release(self, nodes: Sequence[int]) -> None:
        """Do nothing; nothing is kept."""

    async def close(self) -> None:
        """Do nothing; nothing is kept."""


def _on_states(spec: RewardSpec) -> RewardSpec:
    """Return the spec with its linear head read from hidden states instead of rows of the output matrix."""
    return spec.model_copy(update={"head": "mlp", "head_file": "head"})


def _network(head: RewardHead) -> MlpHead:
    if head.kind == "mlp":
        return MlpHead(head.layers)
    # The biases are the spec's offset already.
    return MlpHead({"0.weight": head.rows, "0.bias": np.zeros(len(head.rows), dtype=np.float32)})
