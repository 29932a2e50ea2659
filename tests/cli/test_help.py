from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from ramify.cli import main
from ramify.config import DEFAULT_BUDGET
from ramify.search.registry import make_strategy, strategy_names

HEAVY = ("anyio", "jinja2", "llama_cpp", "math_verify", "networkx", "numpy", "pydantic", "rich", "sympy", "torch")

SOLVE_OPTIONS = [
    "--answer", "--calculator", "--system-prompt",
    "--fallback", "--fallback-confidence", "--context-tokens", "--flash-attention", "--kv-type", "--main-gpu",
    "--pools", "--tensor-split", "--workers", "--help", "--gpu-layers", "--isolation", "--json", "--max-flops",
    "--max-generated-tokens", "--max-nodes", "--max-path-tokens", "--max-seconds", "--max-step-tokens",
    "--max-total-tokens", "--min-p", "--min-step-tokens", "--model", "--profile", "--prompt-preset", "--quiet",
    "--reward", "--reward-spec", "--save", "--save-tree", "--seed", "--step-format", "--stop", "--strategy",
    "--strategy-option", "--examples", "--messages", "--repeat-penalty",
    "--frequency-penalty", "--presence-penalty", "--stop-text", "--thinking", "--reward-thoughts",
    "--answer-schema", "--draft", "--help-all", "--max-cost", "--max-joules", "--prices", "--risk", "--watts",
    "--max-thinking-tokens", "--thinking-extend", "--thinking-step-tokens", "--thinking-probes",
    "--tools", "--max-tool-calls", "--max-run-tool-calls", "--tool-seconds",
    "--temperature", "--threads", "--top-k", "--top-p", "--tree-temperature", "--width",
    "--store", "--remember", "--count-reused",
]  # fmt: skip


COMMANDS = [
    "solve",
    "tui",
    "serve",
    "mcp",
    "runs",
    "batch",
    "export",
    "grade",
    "calibrate",
    "bench",
    "problems",
    "prompts",
    "models",
    "reward",
    "store",
    "config",
    "doctor",
]


def test_root_help_lists_the_commands(ramify):
    result = ramify("--help")
    assert (result.code, result.err) == (0, "")
    assert re.findall(r"^  ([a-z]+) {2,}", result.out, re.MULTILINE) == COMMANDS
    text = " ".join(result.out.split())
    assert "Exit: 0 done, 1 bug, 2 usage, 3 model, 4 no answer, 5 failed, 6 unsure, 130 ^C" in text


@pytest.mark.parametrize(("arguments", "lines"), [([], 24), (["solve"], 48)])
def test_help_fits_a_screen(ramify, arguments, lines):
    out = ramify(*arguments, "--help").out.splitlines()
    assert len(out) <= lines
    assert max(map(len, out)) <= 80


def test_help_has_an_example(ramify):
    assert "ramify -m FILE.gguf" in ramify("--help").out
    for command in (["solve"], ["tui"], ["serve"], ["mcp"], ["batch", "run"], ["reward", "eval"], ["reward", "label"]):
        example = re.search(r"^Example:\n  (ramify .*)$", ramify(*command, "--help").out, re.MULTILINE)
        assert example is not None and example[1].startswith(" ".join(["ramify", *command]))


def test_all_options_are_shown_by_group(ramify):
    short, whole = ramify("solve", "--help").out, ramify("solve", "--help-all").out
    titles = re.findall(r"^([A-Z][a-z ]+):$", whole, re.MULTILINE)
    groups = ["Search", "Limits", "Sampling and prompts", "Machine", "Other options"]
    assert titles == ["Example", "Common options", *groups]
    assert "--kv-type" in whole and "--kv-type" not in short
    assert "Stop rules" in whole


@pytest.mark.parametrize(
    ("words", "position", "wanted"),
    [
        ("ramify ", 1, {"solve", "tui", "batch"}),
        ("ramify so", 1, {"solve"}),
        ("ramify models ", 2, {"list", "pull", "quantize"}),
        ("ramify solve --strat", 2, {"--strategy", "--strategy-option"}),
        ("ramify solve --isolation ", 3, {"process", "thread"}),
        ("ramify solve --strategy ", 3, {"rebase", "majority", "auto"}),
        ("ramify solve -m demo", 3, {"demo-s", "demo-m", "demo"}),
        # Without a command the words are those of `solve`.
        ("ramify --strat", 1, {"--strategy", "--strategy-option"}),
        ("ramify -m demo-m --rew", 3, {"--reward"}),
        ("ramify -m demo-m --strategy r", 4, {"rebase", "refine"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(words, position, wanted):
    settings = {"_RAMIFY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    code = "from ramify.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **settings}
    )
    assert wanted <= {line.partition(",")[2] for line in done.stdout.splitlines()}


def test_solve_options_are_pinned(ramify):
    result = ramify("solve", "--help-all")
    assert sorted(set(re.findall(r"^  .*?(--[a-z-]+)", result.out, re.MULTILINE))) == sorted(SOLVE_OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["problems"], ["--count", "--help", "--seed", "--solutions", "--steps", "--task"]),
        (["models", "list"], ["--help", "--json"]),
        (["models", "info"], ["--help", "--json", "--kv-type", "--tokens", "--width"]),
        (["models", "pull"], ["--force", "--help", "--json", "--name"]),
        (["models", "quantize"], ["--allow-requantize", "--force", "--help", "--threads", "--type"]),
        (["models", "remove"], ["--help", "--yes"]),
        (["doctor"], ["--bench", "--help", "--json", "--model", "--no-run"]),
        (["runs", "list"], ["--help", "--json", "--limit", "--query"]),
        (["runs", "show"], ["--all", "--help", "--json", "--width"]),
        (["runs", "replay"], ["--help", "--width"]),
        (["runs", "export"], ["--format", "--help", "--with"]),
        (["batch", "tree"], ["--format", "--help", "--repeat", "--save-trees"]),
        (["runs", "delete"], ["--help"]),
        (["config", "show"], ["--help", "--json"]),
        (["config", "path"], ["--help"]),
        (["prompts", "list"], ["--help", "--json"]),
        (["prompts", "show"], ["--help", "--json"]),
        (["prompts", "check"], ["--help"]),
    ],
)
def test_other_options_are_pinned(ramify, arguments, options):
    result = ramify(*arguments, "--help")
    assert result.code == 0
    assert sorted(set(re.findall(r"^  .*?(--[a-z-]+)", result.out, re.MULTILINE))) == options


@pytest.mark.parametrize("arguments", [["help"], ["-h"], ["help", "solve"], ["solve", "-h"]])
def test_ways_to_ask_for_help(ramify, arguments):
    result = ramify(*arguments)
    assert result.code == 0
    assert result.out.startswith("Usage: ramify")


def test_version(ramify):
    assert ramify("--version").out == f"ramify {version('ramify')}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["solve", "--help"], ["--version"], ["solve", "--width", "0", "q"]])
def test_what_needs_no_model_loads_no_heavy_module(arguments):
    look = f"print([name for name in {HEAVY!r} if name in sys.modules])"
    code = f"import sys; from ramify.cli import main; main({arguments!r}); {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_solve_help_tells_the_truth_about_strategies_and_limits(ramify):
    # Lines break at hyphens too.
    text = " ".join(ramify("solve", "--help").out.split()).replace("- ", "-")
    with_reward = [name for name in strategy_names() if make_strategy(name).uses_reward]
    named = re.search(r"Strategies: (.*?) need a reward model; (.*?) do not", text)
    assert named is not None
    assert sorted(re.split(", | and ", named[1])) == with_reward
    assert sorted(re.split(", | and ", named[2])) == sorted({*strategy_names()} - {*with_reward})
    budget = DEFAULT_BUDGET
    assert f"ends after {budget.generated_tokens} generated tokens or {budget.seconds:.0f} s;" in text


@pytest.mark.parametrize("group", ["models", "reward", "batch", "bench", "store", "export", "runs"])
def test_a_group_without_a_command_shows_its_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"Usage: ramify {group}")
    assert "\nCommands:\n" in printed.err and "error:" not in printed.err
