"""Loading of rewards: the reward model that a name, a path or an address means."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from anyio import to_thread

from ramify.errors import ModelLoadError, RewardSpecError, UsageError
from ramify.reward.algebra import Combination, Extreme, Part, Product, Weighted, parts_of, read_combination
from ramify.reward.arithmetic_reward import EXACT_ARITHMETIC, ArithmeticReward
from ramify.reward.callable import CallableReward
from ramify.reward.combined import CombinedReward
from ramify.reward.likelihood_head import read_head
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.mlp import MlpHead
from ramify.reward.noise import NoisyReward
from ramify.reward.protocol import RewardModel
from ramify.reward.spec_loading import AnySpec, load_spec, resolve_spec, spec_from_metadata
from ramify.reward.specs import ImplicitSpec, RewardSpec, VerifierSpec
from ramify.reward.totals import TOTALS, TotalsReward

from ..library.catalog import resolve_model
from ..policy.llama import LlamaPolicy
from ..policy.prompts.prompt_format import PromptFormat, choose_prompt_format
from ..policy.protocol import PolicyModel
from ..runtime.llama.gguf_check import check_gguf
from ..runtime.serve.loaded_model import LoadedModel
from .code_rewards import EXAMPLES, ExamplesReward, ToolReward
from .confidence import ConfidenceName, ConfidenceReward, LogRatioReward
from .heads import HeadReward, LikelihoodHeadReward, StatesHeadReward
from .http_reward import HttpReward
from .judge import JudgeReward
from .likelihood import LikelihoodModel
from .naming import RewardName, check_reward, reads_no_policy
from .own_head import OwnHeadReward, reads_what_it_writes, same_file, same_path
from .scorer import LlamaScorer
from .verifier import VerifierReward

SAMPLE_QUESTION = "What is 2 + 3?"
"""Question by which the prompts of a policy and a judge are compared."""
RANK_POOLING = 4
"""LLAMA_POOLING_TYPE_RANK, as files with a classifier have it in their metadata."""

RewardSource = str | Path | RewardModel | Combination | Callable[..., Any] | None


class LoadModel(Protocol):
    """Loads a file into the worker, for hidden states, for its classifier, or for anything else."""

    async def __call__(self, path: Path, *, states: bool = False, rank: bool = False) -> LoadedModel:
        """Return the loaded model."""
        ...


@dataclass(frozen=True, slots=True)
class FileUse:
    """A model file, loaded for hidden states, for its classifier, or for anything else."""

    path: Path
    states: bool = False
    rank: bool = False


class RewardLoader:
    """Loads rewards; files go through `load_model`, resources that must be closed later go onto `stack`.

    `spec` is the format that the caller asks for: a built-in name or a file, None for that of the model.
    """

    def __init__(self, load_model: LoadModel, stack: AsyncExitStack, spec: str | None) -> None:
        self._load_model = load_model
        self._stack = stack
        self._spec = spec

    async def load(self, source: RewardSource, policy: PolicyModel | None) -> RewardModel | None:
        """Return the reward that `source` means.

        A name is read by `read_reward_name`; a RewardModel is taken as it is, and a function is made one.

        Raises:
            ModelLoadError: if a file cannot be loaded or is no reward model.
            UsageError: if the name, the spec or the kind of object is wrong.
        """
        if source is None:
            return None
        if isinstance(source, Part):
            return await self.load(cast("RewardSource", source.source), policy)
        if isinstance(source, Product | Extreme | Weighted):
            return await self._combined(source, policy)
        if isinstance(source, str | Path):
            found = check_reward(source, self._spec)
            if found.parts:
                return await self._combined(read_combination(found.text), policy)
            reward = await self._named(found, policy)
            for sigma in reversed(found.sigmas):
                reward = NoisyReward(reward, sigma)
            return reward
        if isinstance(source, RewardModel):
            return source
        if callable(source):
            return CallableReward(source)
        raise UsageError(
            f"the reward is an object of type {type(source).__name__}",
            "pass a name, a path, a function of (question, steps), or a RewardModel",
        )

    async def _combined(self, combination: Combination, policy: PolicyModel | None) -> RewardModel:
        loaded = dict[object, RewardModel]()
        models = list[RewardModel]()
        for part in parts_of(combination):
            source = part.source
            key = source if isinstance(source, str | Path) else id(source)
            if key not in loaded:
                model = await self.load(cast("RewardSource", source), policy)
                if model is None:
                    raise UsageError(f"the combination {combination} has a part without a reward", "leave it out")
                loaded[key] = model
            models.append(loaded[key])
        return CombinedReward(combination, models)

    async def _named(self, found: RewardName, policy: PolicyModel | None) -> RewardModel:
        if found.judge is not None:
            return JudgeReward(found.judge)
        if found.service is not None:
            return HttpReward(found.service, self._given())
        if found.checks:
            if found.plain == TOTALS:
                return TotalsReward()
            return ArithmeticReward(exact=found.plain == EXACT_ARITHMETIC)
        if found.runs:
            return ExamplesReward() if found.plain == EXAMPLES else ToolReward()
        if found.confidence is not None and found.path is None:
            return _confidence(found.confidence, policy, found.confidence)
        assert found.path is not None
        if found.head is not None:
            return await self._head(found.head, found.path, found.plain, policy)
        if found.confidence is not None:
            return await self._other_confidence(found.confidence, found.path, found.plain, policy)
        if found.is_checkpoint:
            return self._from_checkpoint(found.path)
        try:
            return await self._from_file(found.path, found.name, self._given(), policy)
        except RewardSpecError as error:
            raise ModelLoadError(str(error)) from error

    def ahead(self, found: RewardName, policy_path: Path | None) -> FileUse | None:
        """Return the file that a reward will load and its use, as far as it is known before the policy is loaded.

        `policy_path` is the policy's file, None if it has none. None also where the reward may be read in the policy.
        Of a combination it is the first part's that has one.
        """
        if found.parts:
            return next((use for part in found.parts if (use := self.ahead(part, policy_path)) is not None), None)
        if found.path is None or found.is_checkpoint:
            return None
        if found.confidence is not None or found.head is not None:
            states = found.head is not None and read_head(found.head).reads == "states"
            in_policy = policy_path is not None and same_path(policy_path, found.path) and not states
            return None if in_policy else FileUse(found.path, states=states)
        known = self._given() or spec_from_metadata(check_gguf(found.path).metadata)
        use = _use(found.path, known)
        if use.rank and not _has_classifier(found.path):
            return None
        in_policy = policy_path is not None and same_path(policy_path, found.path) and not use.states and not use.rank
        return None if in_policy else use

    async def _from_file(self, path: Path, name: str, given: AnySpec | None, policy: PolicyModel | None) -> RewardModel:
        known = given or spec_from_metadata(check_gguf(path).metadata)
        use = _use(path, known)
        head = _head(path, known) if isinstance(known, RewardSpec) and use.states else None
        if use.rank and not _has_classifier(path):
            raise ModelLoadError(f"{name} has no classifier to be read", "use a reward spec with another head")
        if isinstance(policy, LlamaPolicy) and same_file(policy, path) and head is None and not use.rank:
            own = self._in_policy(policy, name, given)
            if own is not None:
                return own
        loaded = await self._load_model(path, states=use.states, rank=use.rank)
        spec = resolve_spec(loaded.info.metadata, model=name, given=given, tokenizer=loaded.tokenizer)
        if isinstance(spec, ImplicitSpec):
            return await self._log_ratio(spec, loaded)
        if isinstance(spec, VerifierSpec):
            return VerifierReward(spec, loaded)
        return _at_tags(spec, loaded, policy, head)

    def _in_policy(self, policy: LlamaPolicy, name: str, given: AnySpec | None) -> RewardModel | None:
        """Return the head in the policy's file as a reward that is read where the policy writes, None if it cannot."""
        loaded = policy.model
        spec = resolve_spec(loaded.info.metadata, model=name, given=given, tokenizer=loaded.tokenizer)
        if not isinstance(spec, RewardSpec):
            return None
        reward = _at_tags(spec, loaded, policy, None)
        return OwnHeadReward(reward, policy) if reads_what_it_writes(reward, policy) else None

    async def _log_ratio(self, spec: ImplicitSpec, loaded: LoadedModel) -> RewardModel:
        reference = await self._load_model(resolve_model(spec.reference).path)
        models = [reader(each, spec.preset) for each in (loaded, reference)]
        return LogRatioReward(spec.name, models[0], models[1], beta=spec.beta)

    async def _other_confidence(
        self, kind: ConfidenceName, path: Path, name: str, policy: PolicyModel | None
    ) -> RewardModel:
        own = self._reads_policy(policy, path)
        if own is not None:
            return _confidence(kind, own, name)
        loaded = await self._load_model(path)
        size = loaded.info.vocabulary_size
        return ConfidenceReward(kind, reader(loaded, None), vocabulary_size=size, name=name, own=False)

    async def _head(self, file: Path, judge: Path, name: str, policy: PolicyModel | None) -> HeadReward:
        head = await to_thread.run_sync(read_head, file)
        await to_thread.run_sync(head.check_judge, judge)
        split = _splitter(policy)
        if head.reads == "states":
            return StatesHeadReward(
                head, reader(await self._load_model(judge, states=True), None), name=name, split=split
            )
        own = self._reads_policy(policy, judge)
        if own is not None:
            ends = own.model.tokenizer.ends
            return LikelihoodHeadReward(head, reader(own.model, None), name=name, split=split, ends=ends)
        return LikelihoodHeadReward(head, reader(await self._load_model(judge), None), name=name, split=split)

    @staticmethod
    def _reads_policy(policy: PolicyModel | None, path: Path) -> LlamaPolicy | None:
        """Return the policy if it runs this file with the prompt that a judge of it reads, else None."""
        if not isinstance(policy, LlamaPolicy) or not same_file(policy, path):
            return None
        tokenizer = policy.model.tokenizer
        judge = judge_prompt(policy.model, None)
        same = list(judge.encode(SAMPLE_QUESTION, tokenizer)) == list(policy.prompt.encode(SAMPLE_QUESTION, tokenizer))
        return policy if same else None

    def _from_checkpoint(self, folder: Path) -> RewardModel:
        from .reference import load_reference

        return load_reference(folder, self._spec, self._stack.enter_context(ExitStack()))

    def _given(self) -> AnySpec | None:
        try:
            return None if self._spec is None else load_spec(self._spec)
        except RewardSpecError as error:
            raise UsageError(str(error)) from error


def _at_tags(spec: RewardSpec, loaded: LoadedModel, policy: PolicyModel | None, head: MlpHead | None) -> LmHeadReward:
    return LmHeadReward(
        spec,
        loaded.tokenizer,
        LlamaScorer(loaded),
        parameters=loaded.info.token_parameters + (0 if head is None else head.parameters),
        context_tokens=loaded.info.context_tokens,
        split=_splitter(policy),
        head=head,
    )


def _splitter(policy: PolicyModel | None) -> Callable[[str], list[str]] | None:
    """Return how the policy's texts are cut into steps, None if it does not say."""
    if isinstance(policy, LlamaPolicy):
        return policy.prompt.split
    if policy is None:
        return None
    from ..policy.remote.policy import RemotePolicy

    return policy.split if isinstance(policy, RemotePolicy) else None


def _confidence(kind: ConfidenceName, policy: PolicyModel | None, name: str) -> RewardModel:
    if not isinstance(policy, LlamaPolicy):
        raise reads_no_policy(kind)
    model = LikelihoodModel(policy.model, policy.prompt, exact=True)
    size = policy.model.info.vocabulary_size
    return ConfidenceReward(kind, model, vocabulary_size=size, name=name, own=True)


def reader(loaded: LoadedModel, preset: str | None) -> LikelihoodModel:
    """Return a loaded model as a reader of paths, with the prompt of `preset`, None for the one that suits its file."""
    return LikelihoodModel(loaded, judge_prompt(loaded, preset))


def judge_prompt(loaded: LoadedModel, preset: str | None) -> PromptFormat:
    """Return the prompt with which a loaded model reads questions; `preset` None takes the one that suits its file."""
    return choose_prompt_format(
        loaded.info.metadata, loaded.tokenizer, chat_template=loaded.info.chat_template, preset=preset
    )


def _use(path: Path, spec: AnySpec | None) -> FileUse:
    """Return a reward model's file with the outputs that it is loaded for."""
    if not isinstance(spec, RewardSpec):
        return FileUse(path)
    return FileUse(path, states=spec.head_file is not None, rank=spec.head == "rank")


def _has_classifier(path: Path) -> bool:
    summary = check_gguf(path)
    return summary.metadata.get(f"{summary.architecture}.pooling_type") == RANK_POOLING


def _head(model: Path, spec: RewardSpec) -> MlpHead:
    """Return the head that lies beside a model file.

    Raises:
        ModelLoadError: if it is missing or damaged.
        RewardSpecError: if it is no head, or lacks the outputs that the spec reads.
    """
    from ..library.convert.safetensors import SafetensorsFile

    assert spec.head_file is not None
    path = model.parent / Path(spec.head_file).name
    if not path.is_file():
        raise ModelLoadError(f"{model.name} needs its head {path.name} beside it", "keep the two files together")
    file = SafetensorsFile(path)
    head = MlpHead({name: file.tensor(name) for name in file.names}, name=path.name)
    wanted = [each for each in (spec.good, spec.bad) if isinstance(each, int)]
    if max(wanted) >= head.outputs:
        raise RewardSpecError(
            f"the head {path.name!r} has {head.outputs} outputs and the reward spec {spec.name!r} reads {max(wanted)}"
        )
    return head
