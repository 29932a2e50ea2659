"""Share of calls under a limit of time that give an answer, with the times of first token, first answer and end.

    python benchmarks/anytime.py A.gguf B.gguf --problems gsm8k_test.jsonl --count 20 --out anytime.jsonl
    python benchmarks/anytime.py A.gguf B.gguf --problems gsm8k_test.jsonl --count 5 --plain --out plain.jsonl

Each call is `ramify QUESTION -m FILE -s STRATEGY --max-seconds BUDGET` in a process of its own. All times count from
its start, so they include the start of Python and the loading, and overrun includes the end of the process. With
--warm the searches share one loaded engine for each file, and times count from the call of `Engine.run`. With --plain
the call is `ramify QUESTION -m FILE` without any option. The strategies take turns on each problem, so that a machine
whose speed drifts treats them alike. What is in the --out file already is not measured again.

The problems file has JSON lines with `question` and `answer`, as GSM8K; --count of them are drawn by --seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STRATEGIES = "greedy,rebase,majority,beam,mcts"
BUDGETS = "10,20,30,60,120"
PLAIN = "(defaults)"
"""Name of the call without options in the place of a strategy's."""
PATIENCE_S = 300.0
"""Time beyond its limit after which a call is killed; it counts as one without an answer."""
WARM_UP_S = 5.0
"""Limit of the first search of a warm engine, which is not measured."""
TIMES_VARIABLE = "ANYTIME_TIMES"
"""Environment variable that names the file to which a measured call writes the times of its events."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to be measured; `budget` is in seconds, 0.0 for the default limits."""

    model: str
    strategy: str
    reward: str
    budget: float
    problem: str
    warm: bool
    threads: int

    @property
    def options(self) -> list[str]:
        """Options of the command line."""
        limits = ["--max-seconds", f"{self.budget:g}"] if self.budget else []
        strategy = [] if self.strategy == PLAIN else ["-s", self.strategy]
        reward = ["-r", self.reward] if self.reward else []
        return [*strategy, *reward, *limits, *(["--threads", str(self.threads)] if self.threads else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Outcome of one call; times in seconds from its start, None where the event did not come."""

    call: Call
    answer: str | None = None
    correct: bool = False
    text: bool = False
    code: int = 0
    stop_reason: str = ""
    finished: int = 0
    tokens: int = 0
    begun_s: float | None = None
    first_token_s: float | None = None
    first_answer_s: float | None = None
    end_s: float = 0.0
    load: float = 0.0
    error: str = ""

    @property
    def overrun_s(self) -> float:
        """Seconds beyond the limit until the caller had control again."""
        return max(0.0, self.end_s - self.call.budget) if self.call.budget else 0.0


@dataclass(slots=True)
class Times:
    """Times of a run's events on the clock of `time.monotonic`, which all processes share."""

    begun: float | None = None
    first_token: float | None = None
    first_answer: float | None = None

    def take(self, event: Any) -> None:
        """Note the time of the first event of each kind."""
        from ramify.events import AnswerUpdate, NodeAdded, RunStarted, StepProgress

        now = time.monotonic()
        if isinstance(event, RunStarted):
            self.begun = now
        elif isinstance(event, StepProgress | NodeAdded) and event.generated_tokens and self.first_token is None:
            self.first_token = now
        elif isinstance(event, AnswerUpdate) and event.answer is not None and self.first_answer is None:
            self.first_answer = now

    def since(self, started: float, ended: float, *, answered: bool) -> dict[str, float | None]:
        """Return the times from a start; an answer that no event told came with the end."""
        first_answer = ended if self.first_answer is None and answered else self.first_answer
        found = {"begun_s": self.begun, "first_token_s": self.first_token, "first_answer_s": first_answer}
        return {name: None if value is None else value - started for name, value in found.items()}


def watched_command(arguments: Sequence[str]) -> int:
    """Run the command line in this process and write the times of its run's events to a file."""
    from ramify.cli import main
    from ramify.cli.progress import SearchProgress

    times, take = Times(), SearchProgress.take

    def watch(progress: SearchProgress, event: Any) -> None:
        times.take(event)
        take(progress, event)

    # Events of steps in the making are sent on request alone.
    SearchProgress.interactive = property(lambda progress: True)  # type: ignore[assignment,method-assign]
    SearchProgress.take = watch  # type: ignore[method-assign]
    try:
        return main(arguments)
    finally:
        Path(os.environ[TIMES_VARIABLE]).write_text(json.dumps(asdict(times)), encoding="utf-8")


def measured_call(call: Call, path: Path, problem: Problem, folder: Path) -> Row:
    """Make one call in a process of its own."""
    times_file = folder / "times.json"
    times_file.unlink(missing_ok=True)
    command = [
        sys.executable, str(Path(__file__).resolve()), "--call", problem.question, "-m", str(path), *call.options,
        "--json", "--no-save", "--quiet",
    ]  # fmt: skip
    # Settings of the user would be other options than the call shows.
    environment = os.environ | {TIMES_VARIABLE: str(times_file), "XDG_CONFIG_HOME": str(folder / "settings")}
    load, started = os.getloadavg()[0], time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        process_group=0,
    ) as child:  # fmt: skip
        try:
            out, err = child.communicate(timeout=(call.budget or 120.0) + PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = "", "killed"
    ended = time.monotonic()
    try:
        solution = json.loads(out)
    except ValueError:
        solution = {}
    times = Times(**json.loads(times_file.read_text("utf-8"))) if times_file.exists() else Times()
    answer = solution.get("answer")
    return Row(
        call=call,
        answer=answer,
        correct=problem.accepts(answer),
        text=bool(solution.get("text", "").strip()),
        code=child.returncode,
        stop_reason=solution.get("stop_reason", ""),
        finished=len(solution.get("candidates", [])),
        tokens=solution["usage"]["policy"]["generated_tokens"] if solution else 0,
        **times.since(started, ended, answered=answer is not None),
        end_s=ended - started,
        load=load,
        error="" if child.returncode in (0, 4) else " ".join(err.split())[-300:],
    )


async def warm_search(engine: Any, call: Call, problem: Problem) -> Row:
    """Make one search in an engine that is loaded."""
    from ramify import Budget
    from ramify.search.registry import make_strategy

    options: dict[str, Any] = {"budget": Budget(seconds=call.budget)} if call.budget else {}
    strategy = None if call.strategy == PLAIN else make_strategy(call.strategy)
    times, load, started = Times(), os.getloadavg()[0], time.monotonic()
    async with engine.run(problem.question, strategy=strategy, progress=True, **options) as run:
        async for event in run:
            times.take(event)
        solution = await run.result()
    ended = time.monotonic()
    return Row(
        call=call,
        answer=solution.answer,
        correct=problem.accepts(solution.answer),
        text=bool(solution.text.strip()),
        stop_reason=str(solution.stop_reason),
        finished=len(solution.candidates),
        tokens=solution.usage.policy.generated_tokens,
        **times.since(started, ended, answered=solution.answer is not None),
        end_s=ended - started,
        load=load,
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with its known answer."""

    id: str
    question: str
    gold: str

    def accepts(self, answer: str | None) -> bool:
        """Tell whether an answer is right."""
        from ramify import answers_equal

        return answer is not None and answers_equal(answer, self.gold)


def read_problems(options: argparse.Namespace) -> list[Problem]:
    """Return the drawn problems of the file."""
    from ramify import extract_answer
    from ramify.json_text import json_lines

    rows = [json.loads(line) for _, line in json_lines(options.problems.read_text("utf-8"))]
    drawn = random.Random(options.seed).sample(range(len(rows)), min(options.count, len(rows)))
    return [
        Problem(str(number), rows[number]["question"], extract_answer(rows[number]["answer"]) or rows[number]["answer"])
        for number in drawn
    ]


@dataclass(slots=True)
class Results:
    """Rows measured so far, each on a line of a file."""

    path: Path | None
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path | None) -> Results:
        """Return what a file has; a last line that a kill cut short is removed."""
        found = cls(path)
        if path is not None and path.exists():
            lines = path.read_text("utf-8").splitlines(keepends=True)
            if lines and not lines[-1].endswith("\n"):
                path.write_text("".join(lines[:-1]), encoding="utf-8")
                lines = lines[:-1]
            for line in lines:
                data = json.loads(line)
                found.rows.append(Row(**{**data, "call": Call(**data["call"])}))
        return found

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(row)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(row)) + "\n")
        answer = "no answer" if row.answer is None else f"answer {row.answer[:40]!r}"
        sys.stderr.write(
            f"{row.call.model} {row.call.strategy} {row.call.budget:g} s, problem {row.call.problem}: {answer} after "
            f"{row.end_s:.1f} s {row.error}\n"
        )

    def of(self, calls: Sequence[Call]) -> list[Row]:
        """Return the rows of these calls."""
        wanted = set(calls)
        return [row for row in self.rows if row.call in wanted]


def planned(options: argparse.Namespace, path: Path, problems: Sequence[Problem]) -> Iterator[tuple[Call, Problem]]:
    """Yield the calls of one model, problem by problem."""
    from ramify.search.registry import make_strategy

    names = [PLAIN] if options.plain else options.strategies.split(",")
    budgets = [0.0] if options.plain else [float(each) for each in options.budgets.split(",")]
    for budget in budgets:
        for problem in problems:
            for name in names:
                needed = name != PLAIN and make_strategy(name).uses_reward
                reward = options.reward if needed else ""
                yield Call(path.name, name, reward, budget, problem.id, options.warm, options.threads), problem


async def measure_warm(
    path: Path, calls: Sequence[tuple[Call, Problem]], options: argparse.Namespace, to: Results
) -> None:
    """Measure calls in one engine for each reward."""
    import ramify

    for reward in dict.fromkeys(call.reward for call, _ in calls):
        named: dict[str, Any] = {"threads": options.threads} if options.threads else {}
        async with ramify.Engine(model=path, reward=reward or "default", **named) as engine:
            await engine.solve("What is 3 + 4?", strategy=ramify.Greedy(), budget=ramify.Budget(seconds=WARM_UP_S))
            for call, problem in calls:
                if call.reward == reward:
                    to.add(await warm_search(engine, call, problem))


def summary(rows: Sequence[Row]) -> str:
    """Return the table of rows by model, budget and strategy."""
    head = (
        "model, budget, strategy, calls, answered, 95 % interval, of greedy's, 95 % interval, right, first token, "
        "first answer, end, overrun, worst"
    ).split(", ")
    groups: dict[tuple[str, float, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.call.model, row.call.budget, row.call.strategy), []).append(row)
    lines = list[tuple[str, ...]]()
    for (model, budget, strategy), found in groups.items():
        answered = {row.call.problem for row in found if row.answer is not None}
        greedy = {row.call.problem for row in groups.get((model, budget, "greedy"), ()) if row.answer is not None}
        shared = greedy & {row.call.problem for row in found}
        lines.append(
            (
                model,
                f"{budget:g} s" if budget else "default",
                strategy,
                str(len(found)),
                *share(len(answered), len(found)),
                *(share(len(answered & shared), len(shared)) if shared else ("", "")),
                share(sum(row.correct for row in found), len(found))[0],
                median(row.first_token_s for row in found),
                median(row.first_answer_s for row in found),
                median(row.end_s for row in found),
                median(row.overrun_s for row in found) if budget else "",
                f"{max(row.overrun_s for row in found):.2f}" if budget else "",
            )
        )
    loads = [row.load for row in rows]
    from ramify.tables import markdown_table

    note = f"Times are medians in seconds. Load of the machine before the calls: {min(loads):.1f} to {max(loads):.1f}."
    return f"{markdown_table(head, lines)}\n\n{note}"


def each_call(rows: Sequence[Row]) -> str:
    """Return a table of single calls."""
    head = "model, problem, answer, right, tokens, paths, begun, first token, first answer, end, stop".split(", ")
    lines = [
        (
            row.call.model, row.call.problem, row.answer or "", "yes" if row.correct else "no", str(row.tokens),
            str(row.finished), *(median([each]) for each in (row.begun_s, row.first_token_s, row.first_answer_s)),
            f"{row.end_s:.1f}", row.stop_reason,
        )
        for row in rows
    ]  # fmt: skip
    from ramify.tables import markdown_table

    return markdown_table(head, lines)


def share(count: int, of: int) -> tuple[str, str]:
    """Return a share and its interval."""
    from ramify.statistics import wilson

    low, high = wilson(count, of)
    return (f"{count / of:.2f}" if of else "", f"{low:.2f} to {high:.2f}")


def median(values: Any) -> str:
    """Return the median of the values that are there; those that are missing count as later than all."""
    given = [math.inf if value is None else value for value in values]
    found = statistics.median_low(given) if given else math.inf
    return f"{found:.1f}" if math.isfinite(found) else "-"


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, help="GGUF files")
    parser.add_argument("--problems", type=Path, required=True, help="JSON lines with question and answer")
    parser.add_argument("--count", type=int, default=20, help="problems that are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of the problems")
    parser.add_argument("--budgets", default=BUDGETS, help="limits in seconds")
    parser.add_argument("--strategies", default=STRATEGIES, help="names; greedy is what the others are compared with")
    parser.add_argument("--reward", default="mean-logprob", help="of the strategies that need one")
    parser.add_argument("--threads", type=int, default=0, help="processor threads (default: as ramify chooses)")
    parser.add_argument(
        "--plain", action="store_true", help="the call without options instead of strategies and limits"
    )
    parser.add_argument("--warm", action="store_true", help="one loaded engine instead of a process for each call")
    parser.add_argument("--out", type=Path, help="JSON lines file for the rows, read and continued")
    options = parser.parse_args(arguments)
    for path in (*options.models, options.problems):
        if not path.is_file():
            parser.error(f"there is no file {path}")
    if options.count < 1:
        parser.error("--count is 1 or more")
    from ramify.search.registry import strategy_names

    if unknown := set(options.strategies.split(",")) - set(strategy_names()):
        parser.error(f"no such strategy: {', '.join(sorted(unknown))}; there are {', '.join(strategy_names())}")
    try:
        budgets = [float(each) for each in options.budgets.split(",")]
    except ValueError:
        budgets = []
    if not budgets or not all(math.isfinite(each) and each > 0 for each in budgets):
        parser.error("--budgets are numbers of seconds above 0, joined with commas")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and print the tables."""
    import anyio

    options = read_options(arguments)
    problems, results = read_problems(options), Results.read(options.out)
    asked: list[Call] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in options.models:
            calls = list(planned(options, path, problems))
            asked += [call for call, _ in calls]
            done = {row.call for row in results.rows}
            missing = [each for each in calls if each[0] not in done]
            if options.warm:
                anyio.run(measure_warm, path, missing, options, results)
            else:
                for call, problem in missing:
                    results.add(measured_call(call, path, problem, Path(folder)))
    rows = results.of(asked)
    tables: list[Callable[[Sequence[Row]], str]] = [summary, *([each_call] if options.plain else [])]
    sys.stdout.write("\n\n".join(make(rows) for make in tables) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        raise SystemExit(watched_command(sys.argv[2:]))
    main()
