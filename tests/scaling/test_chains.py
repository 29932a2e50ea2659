"""One wide run tells exactly what every narrower one would have found and cost."""

from __future__ import annotations

import pytest

import ramify
from ramify.reward.noise import NoisyReward
from ramify.scaling.cells import Label, prefix_figures, sampled_figures, winner
from ramify.scaling.chains import chains_of, score_chains
from ramify.scaling.config import ScalingConfig
from ramify.scaling.measure import sampled
from ramify.search.votes import VoteRule
from ramify.testing import ScriptedModel, ScriptedReward

PROBLEMS = ramify.generate_problems(steps=(3, 6), count=2, seed=47)
WIDTHS = (1, 2, 4, 8)
NO_LIMIT = ramify.Budget()


@pytest.mark.parametrize("reward", ["demo-prm", "mean-logprob:demo-m"])
async def test_prefixes_of_a_wide_run_are_the_narrow_runs(reward: str) -> None:
    async with ramify.Engine(model="demo-s", reward=reward, isolation="thread") as engine:
        assert engine.reward is not None
        for problem in PROBLEMS:
            wide = await engine.solve(problem, strategy=ramify.MajorityVote(width=8), seed=3, budget=NO_LIMIT)
            row = await sampled(wide, problem, engine, [(reward, engine.reward)], WIDTHS)
            for width in WIDTHS:
                narrow = await engine.solve(problem, strategy=ramify.WeightedVote(width=width), seed=3, budget=NO_LIMIT)
                assert narrow.tree is not None
                chains = chains_of(narrow.tree)
                assert [chain.generated_tokens for chain in chains] == row["tokens"][:width]
                assert [chain.nodes[-1].score for chain in chains] == pytest.approx(
                    row["scored"][reward]["scores"][:width], abs=0.01
                )
                found = prefix_figures(row, "weighted", width, reward)
                gold = problem.answer or ""
                if clear(narrow):
                    assert found.right == (narrow.answer is not None and ramify.answers_equal(narrow.answer, gold))
                assert found.tokens == narrow.usage.policy.generated_tokens
                assert found.policy_flops == narrow.usage.policy.flops
                # Paths with a common beginning share it, and how much depends on the order in which they come.
                assert found.reward_flops == pytest.approx(narrow.usage.reward.flops, rel=0.1)


def clear(solution: ramify.Solution) -> bool:
    """Scores differ a little between batch shapes, so a vote that hangs on that says nothing."""
    weights = sorted({each.answer: each.weight for each in solution.candidates if each.answer}.values(), reverse=True)
    return len(weights) < 2 or weights[0] - weights[1] > 0.05


@pytest.mark.parametrize("rule", list(VoteRule))
def test_the_vote_agrees_with_the_searchs_own(rule: VoteRule) -> None:
    from ramify.search.votes import Candidate, decide

    groups = [0, 1, -1, 1, 2, 0, 2]
    for scores in ([0.5, 0.2, 0.9, 0.3, 0.5, 0.1, 0.1], [0.5] * 7, [0.1, 0.1, 0.1, 0.1, 0.6, 0.6, 0.2]):
        paths = [
            Candidate(
                node=n,
                path=(n,),
                answer=None if group < 0 else str(group),
                score=scores[n],
                text="",
                generated_tokens=1,
            )
            for n, group in enumerate(groups)
        ]
        assert str(winner(groups, rule, scores)) == decide(paths, rule, lambda a, b: a == b).answer
    assert winner([-1, -1], rule, [0.5, 0.5]) == -1


async def test_a_saved_score_with_noise_is_that_of_the_noisy_reward() -> None:
    model = ScriptedModel(lambda question, path: f"The answer is {path[0]}.")
    plain = ScriptedReward(lambda question, steps: 0.1 + 0.2 * (steps[0].count("1") + 2 * steps[0].count("2")))
    noisy = NoisyReward(plain, 1.5)
    async with ramify.Engine(model=model, reward=None) as engine:
        solution = await engine.solve("q", strategy=ramify.MajorityVote(width=3))
        problem = ramify.Problem("q", "q", "2")
        row = await sampled(solution, problem, engine, [("r", plain)], (1, 3))
    assert solution.tree is not None
    chains = chains_of(solution.tree)
    live = (await score_chains(noisy, "q", chains, ())).values
    from ramify.scaling.cells import scores_of

    assert scores_of(row, "r", 1.5) == pytest.approx(live, abs=1e-3)
    assert scores_of(row, "r") != pytest.approx(live, abs=1e-3)


def test_a_row_gives_a_cell_for_every_width_and_noise_at_one() -> None:
    row = {
        "policy": "p", "groups": [0, 0, 1, -1], "right": [1],
        "tokens": [10, 20, 30, 40], "noise": [0.0, -9.0, 9.0, 0.0],
        "parameters": 100, "prompt_tokens": 5, "reevaluated_tokens": 7,
        "scored": {"r": {"parameters": 1000, "scores": [0.5, 0.9, 0.1, 0.5], "read": {"1": 11, "2": 31, "4": 99}}},
    }  # fmt: skip
    config = ScalingConfig(
        policies=("p",), rewards=("r",), strategies=("majority", "best-of-n"), widths=(1, 2, 4),
        sigmas=(0, 1), noise_width=4
    )  # fmt: skip
    found = dict(sampled_figures(row, config))
    assert len(found) == 3 + 3 + 1
    two = found[Label(policy="p", reward="r", strategy="best-of-n", width=2)]
    assert (two.right, two.tokens, two.policy_flops, two.reward_flops) == (False, 30, 200 * 35, 2000 * 31)
    assert found[Label(policy="p", reward="r", strategy="best-of-n", width=4)].right is False
    assert found[Label(policy="p", reward="r", strategy="best-of-n", width=4, sigma=1)].right is True
    whole = found[Label(policy="p", reward=None, strategy="majority", width=4)]
    assert (two.policy_flops, whole.policy_flops) == (200 * 35, 200 * (105 + 7))
    # The results of tools in other samples are none of a narrower run's cost.
    found = dict(sampled_figures({**row, "prompt_tokens": 5 + 21, "told": [1, 2, 6, 12]}, config))
    flops = [
        found[Label(policy="p", reward=None, strategy="majority", width=width)].policy_flops for width in (1, 2, 4)
    ]
    assert flops == [200 * (5 + 10 + 1), 200 * (5 + 30 + 3), 200 * (5 + 100 + 21 + 7)]
