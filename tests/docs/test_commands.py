"""Every block of commands and Python in the quick start and the how-to pages runs, on the bundled models.

A file of a model that a page names is a copy of a bundled one (STAND_INS). Comments before a block: `not run: REASON`
leaves it out, `exit code N` says that its last command ends with that code, and `server` keeps it running until the end
of the page. Limits of time, energy and money are a thousandfold, so that a busy machine ends no search, and numbers of
problems are small ones. All blocks of Python run in one process with one engine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ramify.engine.library.catalog import list_bundled, resolve_model

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "quickstart.md", DOCS / "concepts.md", *sorted((DOCS / "howto").glob("*.md"))]
LANGUAGES = ("sh", "python")
BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]*?) -->\n)?^```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
STAND_INS = {
    "MODEL.gguf": "demo-m",
    "LARGER.gguf": "demo-l",
    "PRM.gguf": "demo-prm",
    "qwen2.5-0.5b-instruct-q4_k_m.gguf": "demo-m",
}
UNTIMED = {"RAMIFY_MAX_GENERATED_TOKENS": "8192"}
"""Settings in the place of the usual limits of a search, one of which is of time."""
PORT = "8642"
"""Port of the server on the pages; a test takes a free one."""
LIMITS = re.compile(r"(--max-seconds |--max-joules |--max-cost |\bseconds=|\"seconds\": |\bjoules=|\bcost=)(\d[\d.]*)")
COUNTS = re.compile(r"(--count |--solutions )(\d+)")
MOST = 6
"""Problems, and solutions of each, in a test; pages name more."""
NOT_RUN = Counter(
    {
        "compiles llama.cpp, which takes minutes": 1,
        "listens to other machines until it is ended": 1,
        "needs a model whose chat template knows tools": 3,
        "needs a server of vLLM, SGLang or llama.cpp": 2,
        "needs the network": 2,
        "starts a Ray cluster, as tests of its own do": 1,
    }
)
"""Reasons why blocks are not run, with their numbers."""
QUESTION = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have?"
RUN_PYTHON = f"""
import ast, asyncio, contextlib, inspect, io, json, os, sys, traceback
import ramify

async def run(file, engine):
    names = dict(ramify=ramify, question={QUESTION!r}, problem=ramify.Problem(question={QUESTION!r}), engine=engine)
    with open(file, encoding="utf-8") as code:
        compiled = compile(code.read(), file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    made = eval(compiled, names)
    if inspect.iscoroutine(made):
        await made

async def main():
    async with ramify.Engine() as engine:
        while line := await asyncio.to_thread(sys.stdin.readline):
            file, folder, environment = json.loads(line)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            said, fault = io.StringIO(), ""
            try:
                with contextlib.redirect_stdout(said):
                    await run(file, engine)
            except Exception:
                fault = said.getvalue()[-2000:] + traceback.format_exc()[-3000:]
            print(json.dumps(fault), flush=True)

asyncio.run(main())
"""


class PythonBlocks:
    """A process that runs files of Python with top-level `await` and an open engine, one after the other."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[str] | None = None

    def run(self, file: Path, folder: Path, environment: dict[str, str]) -> str:
        """Return the output and the traceback of a file that fails, "" for others."""
        if self.process is None:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", RUN_PYTHON],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(file), str(folder), environment]) + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        return json.loads(reply) if reply else self.log.read_text("utf-8") + "\nthe process has died"

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()


@pytest.fixture(scope="module")
def python_blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PythonBlocks]:
    with closing(PythonBlocks(tmp_path_factory.mktemp("python") / "log")) as process:
        yield process


@dataclass(frozen=True)
class Block:
    """A block of a page that can be run; `marker` is the text of the comment before it, "" for none."""

    language: str
    code: str
    marker: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(each["language"], each["code"], each["marker"] or "", text[: each.start("code")].count("\n") + 1)
        for each in BLOCK.finditer(text)
        if each["language"] in LANGUAGES
    ]


def reasons() -> Counter[str]:
    markers = (block.marker for page in PAGES for block in blocks_of(page))
    return Counter(each.removeprefix("not run: ") for each in markers if each.startswith("not run: "))


def runnable(block: Block, port: int) -> str:
    """Return the code of a block with a free port, wide limits and few problems."""
    wide = LIMITS.sub(lambda each: f"{each[1]}{float(each[2]) * 1000:g}", block.code)
    few = COUNTS.sub(lambda each: f"{each[1]}{min(int(each[2]), MOST)}", wide)
    return few.replace(PORT, str(port))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def kept_running(command: list[str], folder: Path, environment: dict[str, str], port: int) -> Iterator[None]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            assert process.poll() is None, (folder / "server.log").read_text("utf-8")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def page_environment(tmp_path: Path) -> dict[str, str]:
    if {*STAND_INS.values()} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
    models = tmp_path / "models"
    models.mkdir()
    for name, bundled in STAND_INS.items():
        shutil.copyfile(resolve_model(bundled).path, models / name)
        shutil.copyfile(resolve_model(bundled).path, tmp_path / name)
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAMIFY_DATA": str(tmp_path / "data"),
        "RAMIFY_MODELS_DIR": str(models),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "NO_COLOR": "1",
    }
    return {key: value for key, value in os.environ.items() if not key.startswith("RAMIFY_")} | own


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, page_environment: dict[str, str], python_blocks: PythonBlocks
) -> None:
    port = free_port()
    with ExitStack() as servers:
        for block in blocks_of(page):
            if block.marker.startswith("not run: "):
                continue
            if "curl " in block.code and not shutil.which("curl"):
                continue
            code = runnable(block, port)
            environment = page_environment | ({} if "--allocation" in code else UNTIMED)
            if block.language == "python":
                file = tmp_path / f"{page.stem}-{block.line}.py"
                file.write_text(code, "utf-8")
                fault = python_blocks.run(file, tmp_path, environment)
                assert fault == "", f"{page.name}:{block.line}\n{code}\n{fault}"
                continue
            if block.marker == "server":
                command = ["bash", "-euc", f"exec {code}"]
                servers.enter_context(kept_running(command, tmp_path, environment, port))
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", code],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            wanted = int(block.marker.removeprefix("exit code ") or 0)
            said = f"{page.name}:{block.line}\n{code}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
            assert done.returncode == wanted, said


def test_blocks_that_are_not_run_have_a_reason_that_is_counted() -> None:
    assert reasons() == NOT_RUN


def test_markers_are_known() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            assert re.fullmatch(r"|server|exit code \d+|not run: .+", block.marker), (
                page.name,
                block.line,
                block.marker,
            )


def test_commands_stand_in_blocks_that_are_run() -> None:
    for page in PAGES:
        for each in BLOCK.finditer(page.read_text("utf-8")):
            if each["language"] not in LANGUAGES:
                lines = each["code"].splitlines()
                assert not any(re.match(r"(\$ )?(ramify|pip|python|curl) ", line) for line in lines), (page.name, lines)
