from __future__ import annotations

import importlib

import pytest

import ramify

SURFACE = """
    AbMcts AgreementWindow AllOf AnswerUpdate AnyOf Auto BeamSearch BestOfN BetaMajority Budget BudgetChanged
    BudgetUsed CallableReward CannotBeOvertaken Dvts Engine EngineClosed EngineConfig Event ExitCode Greedy
    LaneConfidence Majority Mcts ModelCrashed ModelLoadError NoAnswer NoImprovement NodeAdded NodePinned NodePruned
    NodeScored NodesDispatched ParticleFilter Problem QuestionTooLong RamifyError Rebase Refine RewardError
    RewardSpecError RoleUsage Run RunFinished RunPaused RunResumed RunStarted SamplingParams ScoreThreshold
    SearchError SearchTree Solution SolutionCandidate StepProgress Stop StopReason Usage UsageError Weighted
    WeightedPosterior Widening __version__ answers_equal extract_answer generate_problems rebase_allocation
    solve_sync
""".split()


def test_the_public_names_are_pinned():
    assert ramify.__all__ == SURFACE


@pytest.mark.parametrize("module", ["ramify", "ramify.models", "ramify.reward", "ramify.search", "ramify.testing"])
def test_public_names_are_sorted_and_exist(module):
    loaded = importlib.import_module(module)
    assert loaded.__all__ == sorted(loaded.__all__)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        ramify.Nonsense  # noqa: B018


def test_public_names_are_listed_by_dir():
    assert dir(ramify) == sorted(ramify.__all__)
