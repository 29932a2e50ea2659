"""Guide a search with a scoring function of one's own instead of a reward model."""

import re

import anyio

import ramify


def sums_are_right(question: str, steps: tuple[str, ...]) -> float:
    """Score a path by the share of its additions and subtractions that are right."""
    sums = re.findall(r"(\d+)([+-])(\d+)=(\d+)", "".join(steps))
    right = sum((int(a) + int(b) if sign == "+" else int(a) - int(b)) == int(c) for a, sign, b, c in sums)
    return (1 + right) / (1 + len(sums))


async def main() -> None:
    problem = ramify.generate_problems(steps=(5, 5), count=1, seed=2)[0]
    async with ramify.Engine(model="demo-m", reward=sums_are_right) as engine:
        solution = await engine.solve(problem, strategy=ramify.Rebase(width=16))
    print(f"{solution.text}\nwanted {problem.answer}")


if __name__ == "__main__":
    anyio.run(main)
