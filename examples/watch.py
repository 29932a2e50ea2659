"""Follow a search event by event, and stop it as soon as three paths agree."""

import anyio

import ramify
from ramify.events import AnswerUpdate, NodeAdded, NodePruned


async def main() -> None:
    problem = ramify.generate_problems(steps=(4, 4), count=1, seed=1)[0]
    async with ramify.Engine() as engine, engine.run(problem, strategy=ramify.MajorityVote(width=16)) as run:
        async for event in run:
            match event:
                case NodeAdded(node=node, text=text):
                    print(f"node {node}: {text.strip()}")
                case NodePruned(node=node, reason=reason):
                    print(f"node {node} pruned: {reason}")
                case AnswerUpdate(groups=((_, count, _), *_)) if count >= 3:
                    run.stop()
                case _:
                    pass
        solution = await run.result()
    print(f"answer {solution.answer}, wanted {problem.answer}, stopped: {solution.stop_reason}")


if __name__ == "__main__":
    anyio.run(main)
