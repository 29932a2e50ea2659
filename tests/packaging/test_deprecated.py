"""Old module paths and names: each gives the very object of today, with a warning."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from ramify._old_names import FORMER_HOMES, MOVED_MODULES, RENAMED

OLD_NAMES = {
    "ramify": """
        AbMcts AgreementWindow AllOf AnswerUpdate AnyOf Auto BeamSearch BestOfN BetaMajority Budget BudgetChanged
        BudgetUsed CallableReward CannotBeOvertaken Dvts Engine EngineClosed EngineConfig Event ExitCode Greedy
        LaneConfidence Majority Mcts ModelCrashed ModelLoadError NoAnswer NoImprovement NodeAdded NodePinned NodePruned
        NodeScored NodesDispatched ParticleFilter Problem QuestionTooLong RamifyError Rebase Refine RewardError
        RewardSpecError RoleUsage Run RunFinished RunPaused RunResumed RunStarted SamplingParams ScoreThreshold
        SearchError SearchTree Solution SolutionCandidate StepProgress Stop StopReason Usage UsageError Weighted
        WeightedPosterior Widening __version__ answers_equal extract_answer generate_problems rebase_allocation
        solve_sync""",
    "ramify.batch": """
        BadInput BadRecord BatchConfig BatchControl BatchProgress BatchReport Comparison RunFolderError compare_runs
        grade read_problems run_batch""",
    "ramify.engine": """
        Engine EngineConfig Problem RoleUsage Run RunConfig Solution SolutionCandidate Usage solve_sync""",
    "ramify.engine.prompts": """
        PRESETS Prompt PromptFormat PromptPreset STEP_FORMATS SpecialTokens choose_preset choose_prompt_format
        choose_step_format custom_step_format render_prompt special_tokens split_steps step_format""",
    "ramify.engine.remote": "RemoteAddress RemotePolicy RemoteSettings parse_address",
    "ramify.models": "generate_problems",
    "ramify.reward": """
        BUILTIN_SPECS CallableReward ImplicitSpec LmHeadReward RewardContextExceeded RewardError RewardModel
        RewardSession RewardSpec RewardSpecError ScoreJob ScoreRow ScoreUsage ScoredStep ScorerRun ScriptedReward
        TokenScorer Tokenizer VerifierSpec load_spec resolve_spec""",
    "ramify.search": """
        AbMcts Aggregation AgreementWindow AllOf AllocationError AnswerGroup AnyOf AnyStrategy Ask Auto BeamSearch
        BestOfN BetaMajority Budget BudgetError BudgetMeter Candidate CannotBeOvertaken Converses Dvts Expansion
        FinishReason Grant Greedy LaneConfidence Majority Mcts NoImprovement NoState Node NodeState Origin
        ParticleFilter PathRule PruneReason Rebase Refine Remaining Resampling RoundingRule ScoreThreshold SearchError
        SearchTree SelectionRule Settles Situation Spent Stop StopReason StopRule Strategy StrategyError TokenPrice
        TreeError Vote VoteRule Weighted WeightedPosterior Widening WindsDown aggregate allocate candidates decide
        export_tree group_answers independent_rounding_allocation largest_remainder_allocation make_stop_rule
        make_strategy rebase_allocation strategy_names strategy_option_names strategy_to_dict to_dot to_graphml
        to_mermaid to_svg""",
    "ramify.testing": "ScriptedModel ScriptedReward ScriptedStep",
    "ramify.tui": "RamifyApp RunSpec",
    "ramify.batch.executors": "Executor SearchRequest open_executor",
    "ramify.engine.answers": "answers_equal extract_answer normalise",
    "ramify.engine.history": "KEPT_RUNS LATEST Listing RunStore RunSummary SavedRun Unreadable data_folder",
    "ramify.models.problems": "generate_one generate_problems",
    "ramify.search.adaptive": "Allocator EqualSplit Portfolio Standing Tranche",
    "ramify.search.export": """
        TREE_FORMATS Visible cut export_tree one_line printable shorten spoken_of to_dot to_graphml to_mermaid to_svg
        visible_nodes""",
    "ramify.search.stopping": """
        AgreementWindow AllOf AnyOf BetaMajority CannotBeOvertaken Gauged LaneConfidence NoImprovement PathRule
        ScoreThreshold Situation Stop StopReason StopRule WeightedPosterior make_stop_rule standing""",
    "ramify.search.strategies": "BestOfN Greedy Majority Rebase Weighted",
}
"""The public names before the modules moved, by the package that had them."""
REMOVED = {
    ("ramify.search", name) for name in "BudgetMeter Converses NoState Remaining Settles Spent WindsDown".split()
}
"""Old public names of things that are no more."""
DOCUMENTED = [
    ("ramify.engine.cascade", "cascade"),
    ("ramify.engine.cascade", "ensemble"),
    ("ramify.engine.events", "AnswerUpdate"),
    ("ramify.engine.events", "NodeAdded"),
    ("ramify.engine.events", "NodePruned"),
    ("ramify.engine.history", "RunStore"),
    ("ramify.engine.portfolio", "solve_set"),
    ("ramify.search.adaptive", "Portfolio"),
]
"""Names in modules that the documentation of the old layout shows."""
OLD = [(module, name) for module, names in OLD_NAMES.items() for name in names.split()] + DOCUMENTED


def named_today(module: str, name: str) -> tuple[str, str] | None:
    """Return where the tables say that an old name is; None if they do not list it."""
    if (module, name) in RENAMED:
        return RENAMED[module, name]
    for home, names in FORMER_HOMES.get(module, {}).items():
        if name in names.split():
            return home, name
    return None


@pytest.mark.parametrize(("module", "name"), OLD)
def test_every_old_name_is_the_object_of_today(module, name):
    if (module, name) in REMOVED:
        return
    with pytest.MonkeyPatch.context() as patched:
        for loaded in [each for each in sys.modules if each in MOVED_MODULES]:
            patched.delitem(sys.modules, loaded)
        moved = module in MOVED_MODULES
        if moved:
            with pytest.warns(DeprecationWarning, match=f"the module {module} is now {MOVED_MODULES[module]}"):
                loaded = importlib.import_module(module)
            assert loaded is sys.modules[MOVED_MODULES[module]]
        else:
            loaded = importlib.import_module(module)
        today = named_today(module, name)
        if today is None:
            assert getattr(loaded, name) is not None
            return
        with pytest.warns(DeprecationWarning, match=rf"\.{name} is now {today[0]}\.{today[1]};"):
            old = getattr(loaded, name)
        assert old is getattr(importlib.import_module(today[0]), today[1])


@pytest.mark.parametrize(("old", "new"), sorted(MOVED_MODULES.items()))
def test_every_moved_module_has_a_home(old, new):
    importlib.import_module(new)
    assert new not in MOVED_MODULES, "give the path of today"


def test_every_former_or_renamed_name_has_a_home():
    listed = [
        (home, name) for homes in FORMER_HOMES.values() for home, names in homes.items() for name in names.split()
    ]
    missing = [(home, name) for home, name in [*listed, *RENAMED.values()] if not has(home, name)]
    assert missing == []


def has(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name)


def test_the_warning_names_the_line_of_the_caller(tmp_path):
    script = tmp_path / "old.py"
    script.write_text("import ramify\nfrom ramify.engine.remote.address import parse_address\nramify.NodeAdded\n")
    done = subprocess.run([sys.executable, "-W", "always", script], capture_output=True, text=True, check=True)
    warned = [line.partition(": ")[0] for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    assert warned == [f"{script}:2", f"{script}:2", f"{script}:3"]


def test_code_that_uses_no_old_name_gets_no_warning():
    code = "import ramify, ramify.events, ramify.stopping, ramify.batch; [getattr(ramify, n) for n in ramify.__all__]"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_what_lies_below_a_moved_package_is_not_loaded_twice():
    with pytest.warns(DeprecationWarning):
        old = importlib.import_module("ramify.engine.answers.normalise")
    assert old is importlib.import_module("ramify.answers.normal_forms")


def test_unknown_names_and_modules_stay_unknown():
    search = importlib.import_module("ramify.search")
    with pytest.raises(AttributeError, match=r"'ramify\.search' has no attribute 'Nonsense'"):
        search.Nonsense  # noqa: B018
    with pytest.raises(ModuleNotFoundError, match=r"ramify\.nonsense"):
        importlib.import_module("ramify.nonsense")
