"""Solve one question with REBASE on the bundled models and look at what it cost."""

import anyio

import ramify

QUESTION = "Tom has 45 pears. Tom buys 3 bags of 12 pears. On Friday he gives away 21 pears. How many pears has Tom?"


async def main() -> None:
    async with ramify.Engine(model="demo-m") as engine:
        budget = ramify.Budget(generated_tokens=4096, seconds=30)
        solution = await engine.solve(QUESTION, strategy="rebase", budget=budget, seed=0)
    print(solution.text)
    print(f"answer {solution.answer}, score {solution.score:.2f}, {solution.stop_reason}")
    print(f"{solution.usage.policy.generated_tokens} tokens, {solution.usage.flops:.2g} FLOPs")


if __name__ == "__main__":
    anyio.run(main)
