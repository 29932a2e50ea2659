"""Old module paths and old names, importable for one release with a DeprecationWarning.

MOVED_MODULES gives the new path of a module or package that moved; what lies below a package moves with it.
FORMER_HOMES gives names that kept their spelling, by the module that had them and the module that has them now;
RENAMED gives single names with their new spelling. Module paths on the left may be old ones.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.abc import Loader
    from types import ModuleType
    from typing import Any
else:
    # Importing the real one takes longer than all of this module.
    Loader = object

MOVED_MODULES: Mapping[str, str] = {
    "ramify.batch.allocation": "ramify.batch.executors.setup",
    "ramify.batch.analysis": "ramify.batch.report.analysis",
    "ramify.batch.charts": "ramify.batch.report.figures",
    "ramify.batch.compare": "ramify.batch.report.compare",
    "ramify.batch.config": "ramify.batch.store.config",
    "ramify.batch.control": "ramify.batch.progress",
    "ramify.batch.errors": "ramify.errors",
    "ramify.batch.executors.opening": "ramify.batch.executors",
    "ramify.batch.executors.placing": "ramify.batch.executors.ray_executor",
    "ramify.batch.executors.searching": "ramify.batch.executors.local",
    "ramify.batch.figures": "ramify.batch.report.figures",
    "ramify.batch.folder": "ramify.batch.store.folder",
    "ramify.batch.formats": "ramify.batch.store.inputs",
    "ramify.batch.identity": "ramify.batch.store.identity",
    "ramify.batch.inputs": "ramify.batch.store.inputs",
    "ramify.batch.journal": "ramify.files",
    "ramify.batch.plan": "ramify.batch.store.rows",
    "ramify.batch.plot": "ramify.batch.report.figures",
    "ramify.batch.present": "ramify.batch.report.present",
    "ramify.batch.regrade": "ramify.batch.grading",
    "ramify.batch.render": "ramify.batch.report.present",
    "ramify.batch.resolve": "ramify.batch.executors.setup",
    "ramify.batch.rows": "ramify.batch.store.rows",
    "ramify.batch.stats": "ramify.statistics",
    "ramify.batch.tally": "ramify.batch.progress",
    "ramify.bench": "ramify.scaling",
    "ramify.bench.folder": "ramify.scaling.run",
    "ramify.bench.plots": "ramify.scaling.claims.plots",
    "ramify.bench.report": "ramify.scaling.claims.report",
    "ramify.bench.statistics": "ramify.scaling.fits",
    "ramify.bench.votes": "ramify.scaling.cells",
    "ramify.bench.work": "ramify.scaling.run",
    "ramify.cli.batching": "ramify.cli.batch",
    "ramify.cli.build_advice": "ramify.cli.doctor",
    "ramify.cli.diagnostics": "ramify.cli.terminal",
    "ramify.cli.fallback": "ramify.cli.options",
    "ramify.cli.health": "ramify.cli.doctor",
    "ramify.cli.output": "ramify.cli.terminal",
    "ramify.cli.pulling": "ramify.cli.models",
    "ramify.cli.quantizing": "ramify.cli.models",
    "ramify.cli.question": "ramify.cli.solve",
    "ramify.cli.reward_report": "ramify.cli.reward_eval",
    "ramify.cli.saving": "ramify.cli.runs",
    "ramify.cli.settings": "ramify.cli.config",
    "ramify.cli.throughput": "ramify.cli.doctor",
    "ramify.cli.treeview": "ramify.search.export.terminal",
    "ramify.cli.values": "ramify.cli.option_types",
    "ramify.engine.answers": "ramify.answers",
    "ramify.engine.answers.helper": "ramify.answers.math_verify_program",
    "ramify.engine.answers.normalise": "ramify.answers.normal_forms",
    "ramify.engine.calibration": "ramify.training.calibration",
    "ramify.engine.cascade": "ramify.engine.ensembles.cascade",
    "ramify.engine.catalog": "ramify.engine.library.catalog",
    "ramify.engine.config": "ramify.config",
    "ramify.engine.controller": "ramify.engine.control.controller",
    "ramify.engine.convert": "ramify.engine.library.convert",
    "ramify.engine.convert.folding": "ramify.engine.library.convert.heads",
    "ramify.engine.convert.tokenizer_files": "ramify.engine.library.convert.checkpoint",
    "ramify.engine.distinct": "ramify.engine.control.scoring",
    "ramify.engine.duration": "ramify.text",
    "ramify.engine.equality": "ramify.answers.checkers",
    "ramify.engine.errors": "ramify.errors",
    "ramify.engine.events": "ramify.events",
    "ramify.engine.fallback": "ramify.engine.ensembles.fallback",
    "ramify.engine.history.folder": "ramify.files",
    "ramify.engine.hub": "ramify.engine.library.hub",
    "ramify.engine.hub.choosing": "ramify.engine.library.hub.client",
    "ramify.engine.hub.pull": "ramify.engine.library.pull",
    "ramify.engine.llama_policy": "ramify.engine.policy.llama",
    "ramify.engine.pooling": "ramify.engine.ensembles.vote_pooling",
    "ramify.engine.portfolio": "ramify.engine.ensembles.shared_budget",
    "ramify.engine.problem": "ramify.problem",
    "ramify.engine.profile": "ramify.engine.planning.profile",
    "ramify.engine.prompts": "ramify.engine.policy.prompts",
    "ramify.engine.prompts.chat": "ramify.engine.policy.prompts.chat_template",
    "ramify.engine.prompts.conversation": "ramify.engine.policy.prompts.prompt",
    "ramify.engine.prompts.format": "ramify.engine.policy.prompts.prompt_format",
    "ramify.engine.prompts.render": "ramify.engine.policy.prompts.prompt",
    "ramify.engine.prompts.special": "ramify.engine.policy.prompts.prompt",
    "ramify.engine.prompts.steps": "ramify.engine.policy.prompts.step_formats",
    "ramify.engine.quantize": "ramify.engine.library.quantize",
    "ramify.engine.remote": "ramify.engine.policy.remote",
    "ramify.engine.remote.asking": "ramify.engine.policy.remote.requests",
    "ramify.engine.remote.counting": "ramify.engine.policy.remote.reply",
    "ramify.engine.remote.keys": "ramify.engine.policy.remote.address",
    "ramify.engine.remote.preparing": "ramify.engine.policy.remote.dialect",
    "ramify.engine.remote.settings": "ramify.engine.policy.remote.policy",
    "ramify.engine.remote.stops": "ramify.engine.policy.remote.step_end",
    "ramify.engine.removal": "ramify.engine.library.catalog",
    "ramify.engine.requests": "ramify.engine.control.requests",
    "ramify.engine.rewards.check": "ramify.training.check",
    "ramify.engine.rewards.evaluation": "ramify.training.evaluation",
    "ramify.engine.rewards.head_training": "ramify.training.head_training",
    "ramify.engine.rewards.label_files": "ramify.training.label_files",
    "ramify.engine.rewards.labelling": "ramify.training.labelling",
    "ramify.engine.rewards.labels": "ramify.training.labelling",
    "ramify.engine.rewards.measures": "ramify.training.quality",
    "ramify.engine.rewards.quality": "ramify.training.quality",
    "ramify.engine.rewards.reliability_plot": "ramify.training.quality",
    "ramify.engine.rewards.training": "ramify.training.reward_training",
    "ramify.engine.rewards.workers": "ramify.engine.many",
    "ramify.engine.runtime.books": "ramify.engine.runtime.serve.token_tree",
    "ramify.engine.runtime.cache": "ramify.engine.runtime.decode.prefix_cache",
    "ramify.engine.runtime.client": "ramify.engine.runtime.serve.client",
    "ramify.engine.runtime.counters": "ramify.engine.runtime.decode.decoder",
    "ramify.engine.runtime.decoder": "ramify.engine.runtime.decode.decoder",
    "ramify.engine.runtime.devices": "ramify.engine.runtime.llama.devices",
    "ramify.engine.runtime.drawing": "ramify.engine.runtime.decode.sampler",
    "ramify.engine.runtime.feeds": "ramify.engine.runtime.decode.batch",
    "ramify.engine.runtime.filters": "ramify.engine.runtime.decode.filters",
    "ramify.engine.runtime.gguf_check": "ramify.engine.runtime.llama.gguf_check",
    "ramify.engine.runtime.handle": "ramify.engine.runtime.serve.token_tree",
    "ramify.engine.runtime.jobs": "ramify.engine.runtime.decode.jobs",
    "ramify.engine.runtime.kinds": "ramify.engine.runtime.llama.native",
    "ramify.engine.runtime.machine": "ramify.engine.runtime.decode.batch",
    "ramify.engine.runtime.memory": "ramify.engine.runtime.llama.memory",
    "ramify.engine.runtime.native": "ramify.engine.runtime.llama.native",
    "ramify.engine.runtime.open_run": "ramify.engine.runtime.decode.run_state",
    "ramify.engine.runtime.pools": "ramify.engine.runtime.serve.pools",
    "ramify.engine.runtime.probe": "ramify.engine.runtime.llama.probe",
    "ramify.engine.runtime.processes": "ramify.engine.runtime.serve.processes",
    "ramify.engine.runtime.quantize_child": "ramify.engine.runtime.llama.quantize_child",
    "ramify.engine.runtime.reading": "ramify.engine.runtime.decode.jobs",
    "ramify.engine.runtime.repack": "ramify.engine.runtime.llama.repack",
    "ramify.engine.runtime.rows": "ramify.engine.runtime.decode.prefix_cache",
    "ramify.engine.runtime.sampling": "ramify.engine.runtime.decode.draws",
    "ramify.engine.runtime.slot": "ramify.engine.runtime.serve.loaded_model",
    "ramify.engine.runtime.steps": "ramify.engine.runtime.decode.shared_sequences",
    "ramify.engine.runtime.strands": "ramify.engine.runtime.decode.shared_sequences",
    "ramify.engine.runtime.stretches": "ramify.engine.runtime.decode.prefix_cache",
    "ramify.engine.runtime.worker": "ramify.engine.runtime.serve.worker",
    "ramify.engine.runtime.workload": "ramify.engine.runtime.decode.scheduler",
    "ramify.engine.scoring": "ramify.engine.control.scoring",
    "ramify.engine.seeds": "ramify.sampling_params",
    "ramify.engine.solution": "ramify.solution",
    "ramify.engine.steering": "ramify.engine.control.steering",
    "ramify.engine.summary": "ramify.engine.control.votes",
    "ramify.engine.usage": "ramify.usage",
    "ramify.models.problems": "ramify.models.tasks",
    "ramify.models.problems.distractors": "ramify.models.tasks.operations",
    "ramify.reward.builtin": "ramify.reward.spec_loading",
    "ramify.reward.checks": "ramify.reward.scores",
    "ramify.reward.errors": "ramify.errors",
    "ramify.reward.families": "ramify.reward.published",
    "ramify.reward.other_specs": "ramify.reward.specs",
    "ramify.reward.spec": "ramify.reward.specs",
    "ramify.reward.spec_files": "ramify.reward.spec_loading",
    "ramify.search.adaptive": "ramify.search.budget_sharing",
    "ramify.search.adaptive.difficulty": "ramify.search.strategies.auto",
    "ramify.search.adaptive.portfolio": "ramify.search.budget_sharing",
    "ramify.search.aggregation": "ramify.search.votes",
    "ramify.search.errors": "ramify.errors",
    "ramify.search.expectation": "ramify.engine.control.requests",
    "ramify.search.export.colours": "ramify.search.export.labels",
    "ramify.search.export.dot": "ramify.search.export.graphs",
    "ramify.search.export.graphml": "ramify.search.export.graphs",
    "ramify.search.export.mermaid": "ramify.search.export.graphs",
    "ramify.search.export.text": "ramify.search.export.labels",
    "ramify.search.export.visible": "ramify.search.export.labels",
    "ramify.search.layout": "ramify.search.export.layout",
    "ramify.search.limits": "ramify.search.budget",
    "ramify.search.prices": "ramify.search.budget",
    "ramify.search.reasons": "ramify.search.stopping",
    "ramify.search.selection": "ramify.search.strategies.mcts",
    "ramify.search.stopping.parse": "ramify.search.stopping",
    "ramify.search.stopping.paths": "ramify.search.path_rules",
    "ramify.search.stopping.posterior": "ramify.search.votes",
    "ramify.search.stopping.reasons": "ramify.search.stopping",
    "ramify.search.stopping.rule": "ramify.search.stopping",
    "ramify.search.stopping.rules": "ramify.search.stopping",
    "ramify.search.strategies.finishing": "ramify.search.strategies.growth",
    "ramify.search.strategies.greedy": "ramify.search.strategies.sampling",
    "ramify.search.strategies.levels": "ramify.search.strategies.growth",
    "ramify.tui.access": "ramify.tui.common.program",
    "ramify.tui.actions": "ramify.tui.common.actions",
    "ramify.tui.engine_host": "ramify.tui.state.engine_host",
    "ramify.tui.errors": "ramify.tui.common.program",
    "ramify.tui.keymap": "ramify.tui.common.keymap",
    "ramify.tui.logs": "ramify.tui.common.logs",
    "ramify.tui.screens.console": "ramify.tui.screens.dialogs",
    "ramify.tui.screens.help": "ramify.tui.screens.dialogs",
    "ramify.tui.screens.picker": "ramify.tui.widgets.choice",
    "ramify.tui.session": "ramify.tui.state.session",
    "ramify.tui.spec": "ramify.tui.state.spec",
    "ramify.tui.state.board": "ramify.tui.state.panels",
    "ramify.tui.state.gauges": "ramify.tui.state.panels",
    "ramify.tui.state.pace": "ramify.tui.screens.base",
    "ramify.tui.state.spark": "ramify.tui.state.panels",
    "ramify.tui.themes": "ramify.tui.common.themes",
    "ramify.tui.widgets.gauges": "ramify.tui.widgets.budget",
}

FORMER_HOMES: Mapping[str, Mapping[str, str]] = {
    "ramify": {
        "ramify.errors": "ExitCode NoAnswer QuestionTooLong RewardError RewardSpecError SearchError",
        "ramify.events": (
            "AnswerUpdate BudgetChanged BudgetUsed Event NodeAdded NodePinned NodePruned NodeScored "
            "NodesDispatched RunFinished RunPaused RunResumed RunStarted StepProgress"
        ),
        "ramify.stopping": (
            "AgreementWindow AllOf AnyOf BetaMajority CannotBeOvertaken NoImprovement ScoreThreshold Stop "
            "StopReason WeightedPosterior"
        ),
    },
    "ramify.batch.formats": {
        "ramify.errors": "BadRecord",
    },
    "ramify.batch.inputs": {
        "ramify.errors": "BadRecord",
    },
    "ramify.batch.report": {
        "ramify.batch": "BatchReport",
        "ramify.batch.report.totals": "accuracy_interval check_folder summarise",
    },
    "ramify.engine": {
        "ramify": "Engine EngineConfig Problem RoleUsage Run Solution Usage solve_sync",
        "ramify.config": "RunConfig",
    },
    "ramify.engine.history": {
        "ramify.files": "data_folder",
    },
    "ramify.engine.planning": {
        "ramify.engine.planning.strategy_choice": "plan",
    },
    "ramify.engine.policy": {
        "ramify": "PolicyModel",
        "ramify.engine.policy.protocol": "AdoptedNode PolicySession",
        "ramify.engine.runtime.messages": "StepRequest StepResult Turn",
    },
    "ramify.engine.prompts": {
        "ramify.engine.policy.prompts.presets": "PromptPreset",
        "ramify.engine.policy.prompts.prompt_files": "PRESETS choose_preset",
        "ramify.engine.policy.prompts.prompt": "Prompt SpecialTokens render_prompt special_tokens",
        "ramify.engine.policy.prompts.prompt_format": "PromptFormat choose_prompt_format",
        "ramify.engine.policy.prompts.step_formats": (
            "STEP_FORMATS choose_step_format custom_step_format split_steps step_format"
        ),
    },
    "ramify.engine.remote": {
        "ramify.engine.policy.remote.address": "RemoteAddress parse_address",
        "ramify.engine.policy.remote.policy": "RemotePolicy RemoteSettings",
    },
    "ramify.reward": {
        "ramify": "CallableReward RewardModel",
        "ramify.errors": "RewardContextExceeded RewardError RewardSpecError",
        "ramify.reward.lm_head": "LmHeadReward",
        "ramify.reward.protocol": "RewardSession ScoreUsage ScoredStep ScorerRun TokenScorer Tokenizer",
        "ramify.reward.published": "BUILTIN_SPECS",
        "ramify.reward.spec_loading": "load_spec resolve_spec",
        "ramify.reward.specs": "ImplicitSpec RewardSpec VerifierSpec",
        "ramify.testing": "ScriptedReward",
    },
    "ramify.search": {
        "ramify": (
            "Auto BeamSearch BestOfN Budget Greedy ParticleFilter Rebase Refine SearchTree StopRule Strategy "
            "Widening rebase_allocation"
        ),
        "ramify.engine.control.meter": "Grant",
        "ramify.errors": "AllocationError BudgetError SearchError StrategyError TreeError",
        "ramify.search.allocation": (
            "RoundingRule allocate independent_rounding_allocation largest_remainder_allocation"
        ),
        "ramify.search.budget": "TokenPrice",
        "ramify.search.export": "export_tree",
        "ramify.search.export.graphs": "to_dot to_graphml to_mermaid",
        "ramify.search.export.svg": "to_svg",
        "ramify.search.node": "FinishReason Node NodeState Origin PruneReason",
        "ramify.search.registry": "make_strategy strategy_names strategy_option_names strategy_to_dict",
        "ramify.search.strategies.mcts": "SelectionRule",
        "ramify.search.strategies.particle": "Resampling",
        "ramify.search.strategy": "Ask Expansion",
        "ramify.search.votes": (
            "Aggregation AnswerGroup Candidate Vote VoteRule aggregate candidates decide group_answers"
        ),
        "ramify.stopping": (
            "AgreementWindow AllOf AnyOf BetaMajority CannotBeOvertaken NoImprovement PathRule ScoreThreshold "
            "Situation Stop StopReason WeightedPosterior make_stop_rule"
        ),
    },
    "ramify.search.export": {
        "ramify.search.export.labels": "Visible spoken_of visible_nodes",
        "ramify.text": "cut one_line printable shorten",
    },
    "ramify.search.stopping": {
        "ramify.stopping": "PathRule",
    },
    "ramify.search.strategies": {
        "ramify": "BestOfN Greedy Rebase",
    },
    "ramify.tui": {
        "ramify.tui.app": "RamifyApp",
        "ramify.tui.state.spec": "RunSpec",
    },
    "ramify.tui.engine_host": {
        "ramify.errors": "LoadingCancelled",
    },
}

RENAMED: Mapping[tuple[str, str], tuple[str, str]] = {
    ("ramify", "AbMcts"): ("ramify", "ABMCTS"),
    ("ramify", "Dvts"): ("ramify", "DVTS"),
    ("ramify", "LaneConfidence"): ("ramify.stopping", "PathConfidence"),
    ("ramify", "Majority"): ("ramify", "MajorityVote"),
    ("ramify", "Mcts"): ("ramify", "MCTS"),
    ("ramify", "SolutionCandidate"): ("ramify.search.votes", "Candidate"),
    ("ramify", "Weighted"): ("ramify", "WeightedVote"),
    ("ramify.batch.executors.actor", "ActorError"): ("ramify.errors", "UnpicklableError"),
    ("ramify.engine", "SolutionCandidate"): ("ramify.search.votes", "Candidate"),
    ("ramify.engine.solution", "SolutionCandidate"): ("ramify.search.votes", "Candidate"),
    ("ramify.engine.hub.choosing", "Choice"): ("ramify.engine.library.hub.client", "HubModel"),
    ("ramify.engine.hub.choosing", "list_choices"): ("ramify.engine.library.hub.client", "list_hub_models"),
    ("ramify.engine.remote.settings", "Patience"): ("ramify.engine.policy.remote.pool", "RetryPolicy"),
    ("ramify.reward", "ScoreJob"): ("ramify.reward.protocol", "ReadRequest"),
    ("ramify.reward", "ScoreRow"): ("ramify.reward.protocol", "ReadResult"),
    ("ramify.search", "AbMcts"): ("ramify", "ABMCTS"),
    ("ramify.search", "AnyStrategy"): ("ramify", "Strategy"),
    ("ramify.search", "BudgetMeter"): ("ramify.engine.control.meter", "Meter"),
    ("ramify.search", "Dvts"): ("ramify", "DVTS"),
    ("ramify.search", "LaneConfidence"): ("ramify.stopping", "PathConfidence"),
    ("ramify.search", "Majority"): ("ramify", "MajorityVote"),
    ("ramify.search", "Mcts"): ("ramify", "MCTS"),
    ("ramify.search", "Weighted"): ("ramify", "WeightedVote"),
    ("ramify.search.adaptive", "Standing"): ("ramify.search.budget_sharing", "ProblemProgress"),
    ("ramify.search.stopping", "LaneConfidence"): ("ramify.stopping", "PathConfidence"),
    ("ramify.search.strategies", "Majority"): ("ramify", "MajorityVote"),
    ("ramify.search.strategies", "Weighted"): ("ramify", "WeightedVote"),
    ("ramify.search.strategies.ab_mcts", "AbMcts"): ("ramify", "ABMCTS"),
    ("ramify.search.strategies.dvts", "Dvts"): ("ramify", "DVTS"),
    ("ramify.search.strategies.mcts", "Mcts"): ("ramify", "MCTS"),
    ("ramify.search.strategies.sampling", "Majority"): ("ramify", "MajorityVote"),
    ("ramify.search.strategies.sampling", "Weighted"): ("ramify", "WeightedVote"),
    ("ramify.search.strategy", "AnyStrategy"): ("ramify", "Strategy"),
}


class _AliasLoader(Loader):
    """Loads an old module path as the very module that has taken its place."""

    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the machinery."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        # The machinery hands out what stands in sys.modules after this.
        sys.modules[name] = import_module(self._new)
        _warn(f"the module {name} is now {self._new}")


class _ServingLoader(Loader):
    """Loads a module as its own loader does, and adds its old names."""

    def __init__(self, loader: Loader, names: Mapping[str, tuple[str, str]]) -> None:
        self._loader = loader
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _serve(module, self._names)


class _OldNames:
    """Finds modules by their old paths, and modules that have old names to serve."""

    def __init__(self, served: Mapping[str, Mapping[str, tuple[str, str]]]) -> None:
        self._served = served

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an old path, or of a module with old names; None for all others."""
        if not fullname.startswith("ramify."):
            return None
        new = _new_path(fullname)
        if new != fullname:
            return ModuleSpec(fullname, _AliasLoader(new))
        names = self._served.get(fullname)
        if names is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _ServingLoader(spec.loader, names)
                return spec
        return None


def install() -> None:
    """Serve all old paths and names from now on; for `ramify` itself, once it is loaded."""
    served: dict[str, dict[str, tuple[str, str]]] = {}
    for old, homes in FORMER_HOMES.items():
        names = served.setdefault(_new_path(old), {})
        names.update((name, (new, name)) for new, moved in homes.items() for name in moved.split())
    for (old, name), new in RENAMED.items():
        served.setdefault(_new_path(old), {})[name] = new
    _serve(sys.modules["ramify"], served.pop("ramify", {}))
    sys.meta_path.insert(0, _OldNames(served))


def _new_path(name: str) -> str:
    """Return where a module is now; its own name if it did not move."""
    package, rest = name, ""
    while package != "ramify":
        if package in MOVED_MODULES:
            return MOVED_MODULES[package] + rest
        package, _, last = package.rpartition(".")
        rest = f".{last}{rest}"
    return name


def _serve(module: ModuleType, names: Mapping[str, tuple[str, str]]) -> None:
    own: Callable[[str], Any] | None = module.__dict__.get("__getattr__")

    def __getattr__(name: str) -> Any:
        if name in names:
            home, new = names[name]
            value = getattr(import_module(home), new)
            _warn(f"{module.__name__}.{name} is now {home}.{new}")
            return value
        if own is not None:
            return own(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    module.__dict__["__getattr__"] = __getattr__


def _warn(message: str) -> None:
    # Level 3 is the caller of the function that warns; the import machinery's own frames do not count.
    warnings.warn(f"{message}; the old name goes in the next release", DeprecationWarning, stacklevel=3)
