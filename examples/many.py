"""Compare two strategies on many problems, several in flight at a time."""

import anyio

import ramify


async def main() -> None:
    problems = ramify.generate_problems(count=20, seed=5)
    gold = {problem.id: problem.answer for problem in problems}
    async with ramify.Engine() as engine:
        for strategy in (ramify.Greedy(), ramify.Rebase(width=8)):
            right = tokens = 0
            async for solution in engine.solve_many(problems, parallel=4, strategy=strategy):
                right += solution.answer == gold[solution.problem_id or ""]
                tokens += solution.usage.policy.generated_tokens
            print(f"{strategy.name}: {right} of {len(problems)} right, {tokens} tokens")


if __name__ == "__main__":
    anyio.run(main)
