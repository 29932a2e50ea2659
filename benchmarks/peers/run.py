"""Peers beside ramify: same model file, problems, prompt, sampling, grader and meter.

    python benchmarks/peers/run.py --count 30 --samples 8 --seed 20270301 --out docs/results/peers.json
    python benchmarks/peers/run.py --count 5 --samples 4 --seed 1 --sides ramify,treequest --llama-server PATH
    python benchmarks/peers/run.py --problems gsm8k_test.jsonl --model FILE.gguf --methods majority --count 20 --seed 1
        --max-tokens 300 --prompt-preset plain --instruction 'Think step by step. End with: The answer is NUMBER.'

Every peer runs in an environment of its own, made under a cache folder by `pip install PEER==VERSION`, in a process
with a time limit, and asks the endpoint of `endpoint.py` for its texts and scores. Sides take turns in blocks of
problems, so that a machine whose speed drifts does not favour one of them. What is in the --out file already is not
done again; a side that failed is named with the reason, and tried again with --retry-failed.

llama-server and the others should be of one build: `LLAMA_CPP_LIB_PATH=FOLDER` makes those use the libraries that lie
beside the server.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from environments import SetupFailed, cache_folder, python_of
from processes import Adapter, SideFailed, adapter, endpoint, llama_server, taken
from results import Entry, Item, Results
from sides import SIDES, Side
from tables import tables
from upstream import MARK

import ramify
from ramify.batch.store.inputs import read_problems
from ramify.engine.library.catalog import resolve_model

MAX_TOKENS = 128
"""Limit of one answer, for every side; the bundled policies write about 80."""
PROMPT_TOKENS = 384
"""Tokens of a context beyond those of an answer: 512 in all for the bundled policies, which have no more."""
WARM_UP = "Sara has 2 stones. Tom gives Sara 3 stones. How many stones does Sara have?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run: its options, problems and results, and where the servers are ("" for one that is not there)."""

    options: argparse.Namespace
    problems: Sequence[ramify.Problem]
    results: Results
    endpoint: str
    llama_server: str

    def block(self, side: Side, method: str, problems: Sequence[ramify.Problem]) -> None:
        """Solve a block of problems with one method; a failure ends the method, not the run."""
        entry = self.results.entry(side, method)
        done = {item.problem for item in entry.items}
        left = [each for each in problems if each.id not in done]
        if entry.failure is not None or not left:
            return
        key = f"{side.name}:{method}".replace(" ", "-") + (MARK if side.server == "forwarded" else "")
        try:
            if side.server in ("llama-server", "forwarded") and not self.llama_server:
                raise SideFailed("no binary was given (--llama-server PATH)")
            python = python_of(side, self.options.cache)
            with adapter(python, side.script, self._settings(side, method, key), key) as peer:
                reply = peer.ask(WARM_UP, self.options.problem_seconds)
                if reply.get("error"):
                    raise SideFailed(str(reply["error"]))
                taken(self.endpoint, key)
                for problem in left:
                    entry.items.append(self._solve(peer, problem, key))
                    self.results.save()
        except (SetupFailed, SideFailed) as error:
            entry.failure = str(error)
            self.results.save()
        _report(entry)

    def _solve(self, peer: Adapter, problem: ramify.Problem, key: str) -> Item:
        started = time.perf_counter()
        reply = peer.ask(self._asked(problem.question), self.options.problem_seconds)
        seconds = time.perf_counter() - started
        answer = reply["answer"] if "answer" in reply else ramify.extract_answer(reply.get("text") or "")
        used = {**taken(self.endpoint, key), **reply.get("usage", {})}
        used["busy_s"] = round(used["busy_s"], 4)
        counted = ("generated_tokens", "prompt_tokens", "reward_tokens", "requests", "sent_tokens", "busy_s")
        return Item(
            problem=problem.id,
            answer=answer,
            correct=answer is not None and ramify.answers_equal(answer, problem.answer or ""),
            seconds=round(seconds, 4),
            error=reply.get("error"),
            **{name: used[name] for name in counted},
        )

    def _asked(self, question: str) -> str:
        return f"{question}\n\n{self.options.instruction}" if self.options.instruction else question

    def _settings(self, side: Side, method: str, key: str) -> dict[str, Any]:
        options = self.options
        return {
            "method": method,
            "url": self.llama_server if side.server == "llama-server" else self.endpoint,
            "key": key,
            "samples": options.samples,
            "budget_tokens": options.samples * options.sample_tokens,
            "max_tokens": options.max_tokens,
            "path_tokens": PROMPT_TOKENS + options.max_tokens,
            "prompt_preset": options.prompt_preset,
            "temperature": options.temperature,
            "seed": options.seed,
            "threads": options.threads,
            "model": str(resolve_model(options.model).path) if side.script == "run_llama.py" else options.model,
            "reward": options.reward,
        }


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that two runs of the same comparison share."""
    names = ("model", "reward", "count", "samples", "seed", "temperature", "threads")
    given = {name: getattr(options, name) for name in names}
    libraries = {name: version(name) for name in ("ramify", "llama-cpp-python")}
    # Only what is asked for, so that older results of the bundled policies can be gone on with.
    more = {name: getattr(options, name) for name in ("instruction", "prompt_preset") if getattr(options, name)}
    more |= {} if options.problems is None else {"problems": options.problems.name}
    tokens = {"budget_tokens": options.samples * options.sample_tokens, "max_tokens": options.max_tokens}
    return {**given, **tokens, **more, **libraries}


def read_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo-m:f16", help="policy; a float one runs on every build")
    parser.add_argument("--reward", default="mean-logprob:demo-l", help="reward of all searches that use one")
    parser.add_argument("--count", type=int, default=30, help="problems of 2 to 8 steps, or of the file")
    parser.add_argument("--problems", type=Path, help="file of problems with answers; the seed chooses --count of them")
    parser.add_argument("--instruction", default="", help="text after each question, for every side")
    parser.add_argument(
        "--prompt-preset", default="", help="how ramify prompts the model; others take its own template"
    )
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="limit of one answer")
    parser.add_argument("--methods", help="names, joined with commas, such as majority  [default: all]")
    parser.add_argument("--samples", type=int, default=8, help="whole answers a problem; even, for its_hub's beam")
    parser.add_argument(
        "--sample-tokens", type=int, help="budget of generated tokens for each whole answer  [default: --max-tokens]"
    )
    parser.add_argument("--seed", type=int, required=True, help="seed of the problems and of the sampling")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1, help="processor threads of each model, for every side")
    parser.add_argument("--sides", default=",".join(side.name for side in SIDES), help="names, joined with commas")
    parser.add_argument("--llama-server", type=Path, help="binary of llama-server; without it that side is left out")
    parser.add_argument(
        "--block", type=int, default=10, help="problems that a side solves before the next has its turn"
    )
    parser.add_argument("--problem-seconds", type=float, default=120.0, help="time limit of one problem")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="folder of the peers' environments")
    parser.add_argument("--retry-failed", action="store_true", help="forget failures that the --out file holds")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    options = parser.parse_args()
    options.sample_tokens = options.sample_tokens or options.max_tokens
    unknown = set(options.sides.split(",")) - {side.name for side in SIDES}
    if unknown:
        parser.error(f"there is no side {sorted(unknown)[0]!r}; choose from {', '.join(each.name for each in SIDES)}")
    return options


def problems_of(options: argparse.Namespace) -> list[ramify.Problem]:
    """Return the problems of a comparison."""
    if options.problems is None:
        return ramify.generate_problems(steps=(2, 8), count=options.count, seed=options.seed)
    found = read_problems(options.problems)
    random.Random(options.seed).shuffle(found)
    return found[: options.count]


def compare(options: argparse.Namespace, results: Results) -> None:
    """Run all blocks of all sides."""
    problems = problems_of(options)
    wanted = None if options.methods is None else options.methods.split(",")
    chosen = [
        replace(side, methods=methods)
        for side in SIDES
        if side.name in options.sides.split(",")
        and (methods := tuple(each for each in side.methods if wanted is None or each.rpartition("/")[2] in wanted))
    ]
    entries = [results.entry(side, method) for side in chosen for method in side.methods]
    if all(entry.failure is not None or len(entry.items) == len(problems) for entry in entries):
        return
    with ExitStack() as stack:
        other = ""
        if options.llama_server is not None:
            path_tokens = PROMPT_TOKENS + options.max_tokens
            sizes = {"slots": options.samples, "path_tokens": path_tokens, "threads": options.threads}
            path = resolve_model(options.model).path
            other = stack.enter_context(llama_server(options.llama_server, path, **sizes))
        served = {"threads": options.threads, "seed": options.seed, "upstream": other}
        served["prompt_preset"] = options.prompt_preset
        address = stack.enter_context(endpoint(options.model, options.reward, **served))
        run = Comparison(options=options, problems=problems, results=results, endpoint=address, llama_server=other)
        for start in range(0, len(problems), options.block):
            for side in chosen:
                for method in side.methods:
                    run.block(side, method, problems[start : start + options.block])


def main() -> None:
    """Compare and write the tables."""
    options = read_options()
    try:
        results = Results(options.out, settings(options))
    except ValueError as error:
        sys.exit(str(error))
    if options.retry_failed:
        for entry in results.entries:
            entry.failure = None
    try:
        compare(options, results)
    except SideFailed as error:
        sys.exit(str(error))
    sys.stdout.write(tables(results) + "\n")


def _report(entry: Entry) -> None:
    right = sum(item.correct for item in entry.items)
    told = entry.failure or f"{right} of {len(entry.items)} right"
    sys.stderr.write(f"{entry.side}, {entry.name}: {told}\n")


if __name__ == "__main__":
    main()
