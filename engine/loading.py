"""Loading of the policy and the reward model that an engine names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, overload

from anyio import to_thread

from ramify.config import SETTINGS, EngineConfig
from ramify.errors import ModelLoadError, UsageError, check_kind
from ramify.events import ModelLoading
from ramify.files import user_path
from ramify.reward.protocol import RewardModel
from ramify.sampling_params import UNFILTERED, USUAL_SAMPLING, TokenSampling
from ramify.settings import verify

from .library.catalog import resolve_model
from .policy.defaults import RecommendsSampling, recommended_sampling
from .policy.llama import LlamaPolicy
from .policy.prompts.prompt_files import find_preset
from .policy.prompts.prompt_format import choose_prompt_format
from .policy.prompts.step_formats import step_format
from .policy.protocol import PolicyModel
from .policy.remote.address import PREFIX as REMOTE
from .policy.remote.address import is_remote
from .rewards.http_reward import PREFIX as HTTP
from .rewards.loading import FileUse, RewardLoader, RewardSource
from .rewards.naming import DEFAULT_REWARD_NAME, NO_REWARD, RewardName, check_reward, reads_no_policy
from .rewards.own_head import muted_ids
from .rewards.published import published_reward
from .runtime.llama.config import ModelConfig
from .runtime.llama.gguf_check import check_gguf
from .runtime.serve.client import Runtime
from .runtime.serve.loaded_model import LoadedModel

if TYPE_CHECKING:
    from .store.rows import RowStore

OnLoading = Callable[[ModelLoading], None]

DEFAULT_REWARD = "head:demo-l * arithmetic:exact * totals"
"""Reward of the bundled policies: the likelihood head on demo-l, times the checks of equations and of totals."""
BUNDLED_POLICY = "demo-"
OTHER_REWARDS: dict[str, str | None] = {"demo-lists": "mean-logprob", "demo-think": None}
"""Rewards of the bundled policies whose replies the default reward does not know; None for no reward."""


async def load_models(
    stack: AsyncExitStack,
    model: str | Path | PolicyModel,
    reward: RewardSource,
    config: EngineConfig,
    on_loading: OnLoading | None = None,
    store: RowStore | None = None,
) -> tuple[PolicyModel, RewardModel | None]:
    """Load the policy and the reward side by side into each worker; `stack` closes them.

    Results of earlier searches are taken from `store`, None for no store.

    Raises:
        ModelLoadError: if a file cannot be loaded or is no reward model, or a remote model cannot be used.
        ModelUnreachable: if no server of a remote model answers.
        UsageError: if a setting does not exist.
    """
    reward = chosen_reward(model, reward)
    found: RewardName | None = None
    if isinstance(reward, str | Path):
        found = check_reward(reward, config.reward_spec)
        if found.reads_policy and isinstance(model, str | Path) and is_remote(model):
            raise reads_no_policy(found.plain)
    if not isinstance(model, str | Path) and (isinstance(model, type) or not callable(getattr(model, "open", None))):
        check_kind("the model", model, (), "a name, the path of a GGUF file, or a PolicyModel")
    verify(config)
    loader = _Loader(stack, config, on_loading, store)
    if not isinstance(model, str | Path):
        return model, await loader.reward(reward, model)
    policy = await loader.policy(model, found, rewarded=reward is not None)
    return policy, await loader.reward(reward, policy)


async def open_store(stack: AsyncExitStack, config: EngineConfig, model: str | Path | PolicyModel) -> RowStore | None:
    """Open the store that the settings name, None if they name none; `stack` closes it.

    Raises:
        UsageError: if it cannot be used, or the model is behind a server.
    """
    SETTINGS["store"].verify(config.store)
    if config.store is None:
        return None
    if isinstance(model, str | Path) and is_remote(model):
        raise UsageError(
            "steps of models behind servers cannot be kept in a store", "leave the store out, or use a model file"
        )
    from .store.rows import RowStore

    store = await to_thread.run_sync(RowStore, user_path(config.store))
    stack.callback(store.close)
    return store


async def load_reward(
    stack: AsyncExitStack, reward: RewardSource, config: EngineConfig, policy: PolicyModel | None = None
) -> RewardModel | None:
    """Load a reward alone, or beside a loaded `policy` that it may read.

    Without a policy each node is one step, unless the reward's format has a separator.

    Raises:
        ModelLoadError: if a file cannot be loaded or is no reward model.
        UsageError: if a setting does not exist, or the reward reads a policy and there is none.
    """
    return await _Loader(stack, config).reward(reward, policy)


@overload
def chosen_reward(model: str | Path | PolicyModel, reward: str | None) -> str | None: ...
@overload
def chosen_reward(model: str | Path | PolicyModel, reward: str | Path | None) -> str | Path | None: ...
@overload
def chosen_reward(model: str | Path | PolicyModel, reward: RewardSource) -> RewardSource: ...
def chosen_reward(model: str | Path | PolicyModel, reward: RewardSource) -> RewardSource:
    """Return the reward itself, None for "none", or that which goes with the model for "default"."""
    if not isinstance(reward, str):
        return reward
    return {NO_REWARD: None, DEFAULT_REWARD_NAME: default_reward(model)}.get(reward, reward)


def default_reward(model: str | Path | PolicyModel) -> str | None:
    """Return the bundled reward for a bundled policy, that published for any other model's file, else None."""
    if isinstance(model, str) and model.startswith(BUNDLED_POLICY):
        return OTHER_REWARDS.get(model.partition(":")[0], DEFAULT_REWARD)
    if not isinstance(model, str | Path) or is_remote(model):
        return None
    try:
        path = resolve_model(model).path
    except (ModelLoadError, UsageError):
        return None  # The load raises the error.
    return published_reward(path)


def asks_server(reward: RewardSource) -> bool:
    """Return whether a reward, or a part of it, is behind a server."""
    return isinstance(reward, str) and any(prefix in reward for prefix in (REMOTE, HTTP))


def default_sampling(model: str | Path | PolicyModel) -> TokenSampling:
    """Return the sampling of a model for the parameters that the user leaves open.

    Models behind servers have that of files that recommend none. A policy that is a Python object and says nothing is
    sampled from its own distribution.

    Raises:
        ModelLoadError: if there is no such file, or it is damaged.
    """
    if not isinstance(model, str | Path):
        return model.sampling if isinstance(model, RecommendsSampling) else UNFILTERED
    return USUAL_SAMPLING if is_remote(model) else recommended_sampling(check_gguf(resolve_model(model).path).metadata)


def _check_prompt(config: EngineConfig) -> None:
    """Check the settings of prompts that need no model.

    Raises:
        UsageError: if the preset or the step format does not exist or is not valid.
    """
    if config.prompt_preset is not None:
        find_preset(config.prompt_preset)
    if config.step_format is not None:
        step_format(config.step_format)


class _Loader:
    """Loads model files into the workers, which start when the first file is loaded."""

    def __init__(
        self,
        stack: AsyncExitStack,
        config: EngineConfig,
        on_loading: OnLoading | None = None,
        store: RowStore | None = None,
    ) -> None:
        self._stack = stack
        self._config = config
        self._on_loading = on_loading
        self._store = store
        self._runtimes: list[Runtime] = []
        self._rewards = RewardLoader(self._load, stack, config.reward_spec)
        self._begun: dict[FileUse, list[LoadedModel]] = {}

    async def policy(self, name: str | Path, reward: RewardName | None, *, rewarded: bool) -> PolicyModel:
        """Load a policy; the file of `reward`, which will be asked for next, begins to load beside it.

        `rewarded` says that there is a reward, which may read the policy's vocabulary.
        """
        if is_remote(name):
            await self._begin_reward(reward, None)
            return await self._remote_policy(str(name))
        ref = resolve_model(name)
        await to_thread.run_sync(_check_prompt, self._config, abandon_on_cancel=True)
        muted = muted_ids(check_gguf(ref.path).metadata)
        drafts = self._config.draft != "off"
        begun = await self._begin(FileUse(ref.path), muted=muted, vocabulary=rewarded, drafts=drafts)
        await self._begin_reward(reward, ref.path)
        loaded = await _ready(begun)
        choose = partial(
            choose_prompt_format,
            loaded.info.metadata,
            chat_template=loaded.info.chat_template,
            preset=self._config.prompt_preset,
            step_format=self._config.step_format,
            system=self._config.system_prompt,
            thinking=self._config.thinking,
        )
        # The file's template and a pattern of one's own may take seconds; a cancelled load does not wait for them.
        prompt = await loaded.tokenise(choose)
        return LlamaPolicy(loaded, prompt, ref.name)

    async def _remote_policy(self, name: str) -> PolicyModel:
        from .policy.remote.policy import RemotePolicy

        return await RemotePolicy.connect(
            name,
            prompt_preset=self._config.prompt_preset,
            step_format=self._config.step_format,
            system_prompt=self._config.system_prompt,
            thinking=self._config.thinking,
        )

    async def reward(self, source: RewardSource, policy: PolicyModel | None) -> RewardModel | None:
        return await self._rewards.load(source, policy)

    async def _begin_reward(self, reward: RewardName | None, policy_path: Path | None) -> None:
        use = None if reward is None else self._rewards.ahead(reward, policy_path)
        if use is not None:
            self._begun[use] = await self._begin(use)

    async def _load(self, path: Path, *, states: bool = False, rank: bool = False) -> LoadedModel:
        use = FileUse(path, states, rank)
        return await _ready(self._begun.pop(use, None) or await self._begin(use))

    async def _begin(
        self, use: FileUse, *, muted: tuple[int, ...] = (), vocabulary: bool = True, drafts: bool = False
    ) -> list[LoadedModel]:
        """Begin to load a file into every worker."""
        settings = self._config
        SETTINGS["workers"].verify(settings.workers)
        config = ModelConfig.of(
            settings,
            use.path,
            threads=_threads(settings, use.path),
            states=use.states,
            rank=use.rank,
            muted=muted,
            drafts=drafts,
        )
        while len(self._runtimes) < settings.workers:
            # All workers load the same files; the first one's progress stands for all.
            on_progress = None if self._runtimes else self._on_loading
            runtime = Runtime(settings.isolation, store=self._store, on_progress=on_progress)
            self._runtimes.append(await self._stack.enter_async_context(runtime))
        in_turn = settings.workers > 1 and settings.main_gpu is None and settings.tensor_split is None
        return [
            await runtime.begin_load(replace(config, gpu_turn=number if in_turn else None), needs_vocabulary=vocabulary)
            for number, runtime in enumerate(self._runtimes)
        ]


async def _ready(models: list[LoadedModel]) -> LoadedModel:
    """Wait until a file is loaded in all workers; its runs are shared out among them."""
    for each in models:
        await each.wait_loaded()
    models[0].share_with(models[1:])
    return models[0]


def _threads(settings: EngineConfig, path: Path) -> int | None:
    """Return the threads of one worker, None for the number that suits the model."""
    if settings.workers == 1:
        return settings.threads
    from .runtime.llama.native import suitable_threads

    return max(1, (settings.threads or suitable_threads(check_gguf(path).parameters)) // settings.workers)
