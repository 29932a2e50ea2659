"""`ramify doctor`: checks of the installation, a test run, throughput, and advice on the build of llama.cpp."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..config import DEFAULT_BUDGET, DEFAULT_RUN
from ..errors import ExitCode, RamifyError
from ..sampling_params import TokenSampling
from ..text import duration_text
from . import terminal
from .exits import Finished
from .options import setting_option

if TYPE_CHECKING:
    from ramify.engine.engine import Engine
    from ramify.engine.policy.protocol import PolicyModel


@click.command()
@setting_option("model", help="Model of the test run and of the plan: name or path.")
@click.option("--no-run", is_flag=True, help="Do not load the model.")
@click.option("--bench", is_flag=True, help="Measure how fast the model writes with 1 to 64 paths.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def doctor(model: str, no_run: bool, bench: bool, as_json: bool) -> None:
    """Check this installation, and show how a model will be used: versions, llama.cpp, a test run, the plan."""
    with terminal.owned_stdout():
        report = examine(run=not no_run, model=model)
        if bench and not report["problems"]:
            report["throughput"] = measure_throughput(model)
        if as_json:
            terminal.write_json(report, indent=2)
        else:
            for line in (*report_lines(report), *throughput_lines(report.get("throughput", []))):
                terminal.write(line)
    for problem in report["problems"]:
        terminal.error(problem)
    if report["problems"]:
        raise Finished(ExitCode.MODEL)


PACKAGES = ("ramify", "llama-cpp-python", "numpy", "networkx", "anyio", "pydantic", "math-verify")
OPTIONAL_PACKAGES = ("torch", "tokenizers", "gguf")
NOTED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "asimd", "sve")
QUESTION = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"


def examine(*, run: bool, model: str) -> dict[str, Any]:
    """Return the state of the installation in plain JSON types.

    `run` loads `model` and solves a tiny problem with it. The key `problems` lists the faults found.
    """
    import platform

    from ramify.engine.library.catalog import list_bundled

    from ..files import cache_folder, models_folder
    from ..host_resources import processors

    bundled = [entry.name for entry in list_bundled()]
    report: dict[str, Any] = {
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in (*PACKAGES, *OPTIONAL_PACKAGES)},
        "processor": {"threads": processors(), "flags": _processor_flags()},
        "llama_cpp": _library(),
        "bundled_models": bundled,
        "folders": {"cache": str(cache_folder()), "models": str(models_folder())},
    }
    trouble = [] if bundled else ["the bundled models are missing; reinstall ramify"]
    if "error" in report["llama_cpp"]:
        trouble.append(f"llama.cpp cannot be loaded ({report['llama_cpp']['error']}); reinstall llama-cpp-python")
    elif run:
        report["run"] = _try_model(model)
        if "error" in report["run"]:
            trouble.append(report["run"]["error"])
    report["energy"] = _energy()
    report["probes"] = _probes()
    report["problems"] = trouble
    return report


def report_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the report as lines of text."""
    yield f"ramify      {report['packages']['ramify']} on Python {report['python']['version']}, {report['platform']}"
    for group in (PACKAGES[1:], OPTIONAL_PACKAGES):
        yield "            " + ", ".join(f"{name} {report['packages'][name] or 'not installed'}" for name in group)
    processor = report["processor"]
    yield f"processor   {processor['threads']} threads available; {' '.join(processor['flags']) or 'no known flags'}"
    library = report["llama_cpp"]
    yield f"llama.cpp   {library.get('error') or library['path']}"
    if "system_info" in library:
        yield f"            {library['system_info']}"
        yield f"            GPU offload: {'yes' if library['gpu_offload'] else 'no'}"
    yield f"energy      {report['energy']}"
    yield from _describe_probes(report["probes"])
    yield f"models      {', '.join(report['bundled_models']) or 'none bundled'}; yours in {report['folders']['models']}"
    yield f"cache       {report['folders']['cache']}"
    yield from _describe_run(report.get("run"))
    run: dict[str, Any] = report.get("run") or {}
    yield from _describe_plan(run.get("plan", {}))


_INSTEAD = {"none": "without them", "repacked": "with repacked weights, which work, alone"}


def _describe_probes(probes: list[dict[str, Any]]) -> Iterator[str]:
    if not probes:
        yield "CPU probe   not run yet; it runs when a quantized model is first loaded"
    for probe in probes:
        kinds = ",".join(map(str, probe["tensor_types"]))
        if probe["works"]:
            yield f"CPU probe   tensor types {kinds}: the processor's special buffers work"
        else:
            yield (
                f"CPU probe   tensor types {kinds}: llama.cpp crashed ({probe['detail']}) with the processor's "
                f"special buffers, such as AMX; models are loaded {_INSTEAD[probe['buffers']]}"
            )
    command = None if all(probe["works"] for probe in probes) else build_command(_every_flag())
    if command is not None:
        yield "            quantized models may be faster with a build that leaves AMX out:"
        yield f"            {command}"


def _describe_run(run: dict[str, Any] | None) -> Iterator[str]:
    if run is None:
        yield "test run    skipped"
    elif "error" in run:
        yield f"test run    failed: {run['error']}"
    else:
        yield (
            f"test run    {run['model']} in a {run['isolation']} of its own wrote {run['generated_tokens']} tokens "
            f"in {run['seconds']:.2f} s after {run['load_seconds']:.2f} s of loading"
        )


def _describe_plan(plan: dict[str, Any]) -> Iterator[str]:
    for name, text in plan.items():
        if isinstance(text, dict):
            text = TokenSampling(**cast("dict[str, Any]", text))
        yield f"{name.replace('_', ' '):12}{text}"


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor_flags() -> list[str]:
    found = _every_flag()
    return [flag for flag in NOTED_FLAGS if flag in found]


def _every_flag() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "").split()


def _library() -> dict[str, Any]:
    try:
        from ramify.engine.runtime.llama.library import library

        lib: Any = library()
        info = lib.llama_print_system_info().decode("utf-8", "replace").strip()
        return {
            "path": str(Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(lib.__file__).parent / "lib")),
            "system_info": " ".join(info.split()),
            "gpu_offload": bool(lib.llama_supports_gpu_offload()),
        }
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _energy() -> str:
    """Return the counters that measure the energy of searches, or the reason why there are none."""
    from ramify.engine.metering.counters import NvmlCounter, PowercapCounter, find_pynvml, visible_gpus

    found = list[str]()
    try:
        PowercapCounter()
        found.append("processor packages by powercap (rapl)")
    except OSError as error:
        found.append(f"not of the processor: {error.strerror or error}")
    try:
        NvmlCounter(find_pynvml(), visible_gpus())
        found.append("GPUs by NVML")
    except OSError as error:
        found.append(f"not of GPUs: {error.strerror or error}")
    return "; ".join(found)


def _probes() -> list[dict[str, Any]]:

    from ramify.engine.runtime.llama.probe import findings

    return [asdict(finding) for finding in findings()]


def _try_model(model: str) -> dict[str, Any]:
    import time

    import anyio

    from ramify.engine.engine import Engine
    from ramify.search.budget import Budget
    from ramify.search.strategies.sampling import Greedy

    async def attempt() -> dict[str, Any]:
        started_s = time.monotonic()
        async with Engine(model=model, reward=None) as engine:
            loaded_s = time.monotonic()
            solution = await engine.solve(QUESTION, strategy=Greedy(), budget=Budget(generated_tokens=64, seconds=60.0))
            return {
                "model": model,
                "isolation": engine.config.isolation,
                "load_seconds": loaded_s - started_s,
                "seconds": solution.usage.seconds,
                "generated_tokens": solution.usage.policy.generated_tokens,
                "answer": solution.answer,
                "plan": _plan(engine, model, solution.usage.tokens_per_s),
            }

    try:
        return anyio.run(attempt)
    except RamifyError as error:
        return {"model": model, "error": str(error)}


_OWN_ANSWER = "the first one that is marked, as the model was trained"
_ANY_ANSWER = "by the question: marked, a choice, code or a whole text; else the last number or line; or --answer"
PROMPT_SHOWN = 400
"""Characters of the prompt that the plan shows."""


def _plan(engine: Engine, model: str, tokens_per_s: float | None) -> dict[str, Any]:
    """Return the settings of a search with all defaults on a loaded model, in plain JSON types."""
    from ramify.engine.loading import default_reward
    from ramify.engine.planning.strategy_choice import choose_strategy
    from ramify.engine.policy.defaults import intended_use
    from ramify.engine.policy.llama import LlamaPolicy
    from ramify.engine.policy.prompts.thinking import thoughts_in_words

    policy, reward = engine.policy, default_reward(model)
    strategy = choose_strategy(
        None, has_reward=reward is not None, budget=DEFAULT_BUDGET, profile=engine.profile, width=engine.default_width
    )
    plan: dict[str, Any] = {}
    prompt_tokens = 0
    if isinstance(policy, LlamaPolicy):
        info = policy.model.info
        use = intended_use(info.metadata, info.chat_template)
        prompt = policy.prompt.render(QUESTION, policy.model.tokenizer)
        prompt_tokens = len(prompt.tokens)
        plan |= {
            "prompt": f"{prompt_tokens} tokens by the {use.prompt}: {_shortened(prompt.text)}",
            "preset": use.preset,
            "thoughts": thoughts_in_words(info.chat_template, policy.model.tokenizer),
            "step_ends": use.step_format,
            "answer": _OWN_ANSWER if policy.ends_at_answer else _ANY_ANSWER,
            "path_ends": f"{use.path_end}, or {DEFAULT_RUN.max_path_tokens:,} tokens",
            "sampling": use.sampling.to_dict(),
        }
    return plan | {
        "strategy": f"{strategy.name} of up to {strategy.width} paths{_why(policy)}; fewer where time is short",
        "reward": reward
        or "none goes with this model, so the majority decides; name one with --reward, such as mean-logprob",
        "limits": f"{DEFAULT_BUDGET.generated_tokens:,} generated tokens, {DEFAULT_BUDGET.seconds:g} s",
        "speed": "not measured" if not tokens_per_s else f"{tokens_per_s:,.0f} tokens/s for one path",
        "expected": _expected(policy, prompt_tokens, strategy.width, tokens_per_s),
    }


def _expected(policy: PolicyModel, prompt_tokens: int, width: int, tokens_per_s: float | None) -> str:
    """Return the seconds until the first answer and until all paths of a search have ended, by the measured speed."""
    from ramify.engine.control.opening import PATH_TOKENS
    from ramify.engine.policy.protocol import TellsRates
    from ramify.engine.runtime.serve.rates import Rates

    rates = (policy.rates if isinstance(policy, TellsRates) else None) or Rates(single_tokens_per_s=tokens_per_s)
    first_s = rates.seconds(1, prompt_tokens=prompt_tokens, tokens=PATH_TOKENS)
    rest_s = rates.seconds(width, prompt_tokens=0, tokens=PATH_TOKENS)
    if first_s is None or rest_s is None:
        return "not known"
    return (
        f"{duration_text(first_s)} to a first answer, {duration_text(first_s + rest_s)} for {width} paths "
        f"of {PATH_TOKENS} tokens"
    )


def _why(policy: object) -> str:
    """Return why a strategy has so many paths, "" for a model without a reason."""
    from ramify.engine.policy.llama import LlamaPolicy

    if not isinstance(policy, LlamaPolicy):
        return ""
    return f" for {policy.parameters / 1e6:,.0f} M weights on this machine"


def _shortened(text: str) -> str:
    """Return a text in one line of at most PROMPT_SHOWN characters, its middle left out."""
    line = repr(text)[1:-1]
    half = PROMPT_SHOWN // 2
    return line if len(line) <= PROMPT_SHOWN else f"{line[:half]} ... {line[-half:]}"


LANES = (1, 4, 16, 64)
PATH_TOKENS = 96
"""Tokens of each path; paths are written to this length or to their ends."""
STEPS = 8
"""Steps of the problem: on easy ones a small model's paths are all the same, and are then decoded as one."""


def measure_throughput(model: str) -> list[dict[str, Any]]:
    """Return a row for each number of paths: tokens a second, and the shares of the time of a decode step.

    `occupancy` is the mean number of paths in a decode step, which falls as paths end; `different` is the number of
    different ones, since equal paths are decoded as one. `sampling_share` is the share of sampling in the time of
    decoding and sampling.

    Raises:
        RamifyError: if the model cannot be loaded.
    """
    import anyio

    return anyio.run(_measure_throughput, model)


def throughput_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the rows as lines of text."""
    for place, row in enumerate(rows):
        yield (
            f"{'throughput' if place == 0 else '':12}{row['lanes']:>2} paths: {row['tokens_per_s']:>8,.0f} tokens/s, "
            f"{row['occupancy']:.1f} in a step, {row['different']:.1f} of them different, "
            f"drawing takes {row['sampling_share']:.0%}, first token after {row['time_to_first_token_s']:.3f} s"
        )


async def _measure_throughput(model: str) -> list[dict[str, Any]]:
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
                    "occupancy": (after.child_sequences - before.child_sequences) / calls,
                    "different": (after.shared_sequences - before.shared_sequences) / calls,
                    "sampling_share": sampling_s / max(1e-9, decode_s + sampling_s),
                    "time_to_first_token_s": usage.time_to_first_token_s or 0.0,
                }
            )
    return rows


async def _write(engine: Any, lanes: int) -> Any:
    from ramify.models.tasks import generate_problems
    from ramify.search.budget import Budget
    from ramify.search.strategies.sampling import MajorityVote

    problem = generate_problems(steps=(STEPS, STEPS), count=1, seed=1)[0]
    solution = await engine.solve(
        problem.question,
        strategy=MajorityVote(width=lanes, max_depth=50),
        budget=Budget(),
        max_path_tokens=PATH_TOKENS,
        seed=lanes,
    )
    return solution.usage


_SWITCHES = (
    ({"avx2"}, ("AVX", "AVX2", "BMI2", "FMA", "F16C", "SSE42")),
    ({"avx512f", "avx512bw", "avx512vl", "avx512dq"}, ("AVX512",)),
    ({"avx512vbmi"}, ("AVX512_VBMI",)),
    ({"avx512_vnni"}, ("AVX512_VNNI",)),
    ({"avx512_bf16"}, ("AVX512_BF16",)),
)
"""Features in the words of /proc/cpuinfo that are needed together, and the switches of llama.cpp for them."""


def build_command(flags: Collection[str]) -> str | None:
    """Return the command that builds llama-cpp-python without AMX; None for a processor that has none.

    `flags` are those of /proc/cpuinfo.
    """
    if not any(flag.startswith("amx") for flag in flags):
        return None
    switches = ["-DGGML_NATIVE=OFF"]
    for names, built in _SWITCHES:
        if names <= set(flags):
            switches += [f"-DGGML_{name}=ON" for name in built]
    return (
        f'CMAKE_ARGS="{" ".join(switches)}" pip install --force-reinstall --no-deps --no-cache-dir '
        "--no-binary llama-cpp-python llama-cpp-python"
    )
