"""What `ramify doctor --bench` measures: how fast a model writes with one path and with many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LANES = (1, 4, 16, 64)
PATH_TOKENS = 96
"""Tokens of each path; paths are written to this length or to their ends."""
STEPS = 8
"""Steps of the problem: on easy ones a small model's paths are all the same, and are then decoded as one."""


def measure(model: str) -> list[dict[str, Any]]:
    """Return a row for each number of lanes: tokens a second, and where the time of a decode step goes.

    `occupancy` is the mean number of paths in a decode step, which falls as paths end; `different` is how many of them
    differ so far, for those that do not are decoded as one. `sampling_share` is the share of drawing tokens in the time
    of decoding and drawing.

    Raises:
        RamifyError: if the model cannot be loaded.
    """
    import anyio

    return anyio.run(_measure, model)


def describe(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the rows as lines of text."""
    for place, row in enumerate(rows):
        yield (
            f"{'throughput' if place == 0 else '':12}{row['lanes']:>2} paths: {row['tokens_per_s']:>8,.0f} tokens/s, "
            f"{row['occupancy']:.1f} in a step, {row['different']:.1f} of them different, "
            f"drawing takes {row['sampling_share']:.0%}, first token after {row['time_to_first_token_s']:.3f} s"
        )


async def _measure(model: str) -> list[dict[str, Any]]:
    from ramify.engine.engine import Engine
    from ramify.engine.policy.llama import LlamaPolicy

    rows = list[dict[str, Any]]()
    async with Engine(model=model, reward=None) as engine:
        policy = engine.policy
        if not isinstance(policy, LlamaPolicy):
            return rows
        await _write(engine, 1)
        for lanes in LANES:
            before = await policy.model.statistics()
            usage = await _write(engine, lanes)
            after = await policy.model.statistics()
            calls = max(1, after.decode_calls - before.decode_calls)
            decode_s, sampling_s = after.decode_s - before.decode_s, after.sampling_s - before.sampling_s
            rows.append(
                {
                    "lanes": lanes,
                    "tokens_per_s": usage.policy.generated_tokens / max(1e-9, usage.seconds),
                    "occupancy": (after.lanes - before.lanes) / calls,
                    "different": (after.strands - before.strands) / calls,
                    "sampling_share": sampling_s / max(1e-9, decode_s + sampling_s),
                    "time_to_first_token_s": usage.time_to_first_token_s or 0.0,
                }
            )
    return rows


async def _write(engine: Any, lanes: int) -> Any:
    from ramify.models.tasks import generate_problems
    from ramify.search.budget import Budget
    from ramify.search.strategies.sampling import Majority

    problem = generate_problems(steps=(STEPS, STEPS), count=1, seed=1)[0]
    solution = await engine.solve(
        problem.question,
        strategy=Majority(width=lanes, max_depth=50),
        budget=Budget(),
        max_path_tokens=PATH_TOKENS,
        seed=lanes,
    )
    return solution.usage
