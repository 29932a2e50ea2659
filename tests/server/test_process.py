"""`ramify serve` as a process: the official client on bundled and real models, signals, crashes, and wrong options."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from ramify.cli import main

from .conftest import QUESTION

PATIENCE_S = 90.0
ENDLESS = {"strategy": "majority", "width": 64, "max_path_tokens": 400, "budget": {"seconds": 60}}


def client(url: str, key: str = "unused") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=PATIENCE_S)


def asked(question: str = QUESTION, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], **fields}


def wait_for(url: str, running: int) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while httpx.get(f"{url}/health").json()["running"] != running:
        assert time.monotonic() < end_s
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the processes below a process."""
    own = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return own + [below for each in own for below in children(each)]


@pytest.fixture(scope="module")
def bundled() -> None:
    from ramify.engine.library.catalog import list_bundled

    if {"demo-m", "demo-prm"} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")


@pytest.mark.usefixtures("bundled")
def test_the_official_client_on_the_bundled_models(served_process):
    child, url = served_process("--log-json", RAMIFY_SERVER_KEY="a-secret")
    with client(url, "a-secret") as server:
        whole = server.chat.completions.create(model="demo-m", **asked(seed=3, extra_body={"ramify": {"width": 8}}))
        assert whole.choices[0].message.content.endswith("The answer is 7.")
        assert whole.model_extra["ramify"]["usage"]["policy"]["reevaluated_tokens"] == 0
        again = server.chat.completions.create(model="demo-m", **asked(seed=3, extra_body={"ramify": {"width": 8}}))
        assert again.choices[0].message.content == whole.choices[0].message.content
        stream = server.chat.completions.create(model="demo-m", stream=True, **asked())
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert text.endswith("The answer is 7.")
        with pytest.raises(openai.AuthenticationError):
            client(url).models.list()
        scores = httpx.post(
            f"{url}/v1/ramify/score",
            json={"question": QUESTION, "paths": [["3+4=7\n", "The answer is 7."], ["3+4=9\n", "The answer is 9."]]},
            headers={"Authorization": "Bearer a-secret"},
            timeout=PATIENCE_S,
        ).json()["scores"]
    assert scores[0][-1] > scores[1][-1]
    child.send_signal(signal.SIGTERM)
    _, log = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["status"] for line in lines if line.get("path") == "/v1/chat/completions"] == [200, 200, 200]
    assert "a-secret" not in log and "apples" not in log


@pytest.mark.usefixtures("bundled")
def test_a_terminated_server_answers_what_runs_with_its_best_so_far(served_process):
    child, url = served_process("--grace", "1s")
    found: list[httpx.Response] = []

    def ask() -> None:
        body = {"model": "demo-m", **asked(ramify=ENDLESS)}
        found.append(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE_S))

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(url, 1)
    child.send_signal(signal.SIGTERM)
    thread.join(PATIENCE_S)
    assert child.wait(PATIENCE_S) == 0
    assert found[0].status_code == 200
    assert found[0].json()["ramify"]["stop_reason"] in ("user", "completed")


@pytest.mark.usefixtures("bundled")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs the processes of Linux")
def test_a_crash_of_the_worker_in_mid_request_is_survived(served_process):
    child, url = served_process()
    found: list[httpx.Response] = []

    def ask() -> None:
        body = {"model": "demo-m", **asked(ramify={"strategy": "majority", "width": 256})}
        found.append(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE_S))

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(url, 1)
    for pid in children(child.pid):
        if "runtime.serve.worker" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
    thread.join(PATIENCE_S)
    assert (found[0].status_code, found[0].json()["ramify"]["answer"]) == (200, "7")
    assert "ramify_worker_restarts 1.0" in httpx.get(f"{url}/metrics").text


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_conversation_with_a_real_model(served_process, real_model):
    settings = ["--name", "smollm2", "--max-runs", "2", "--max-generated-tokens", "400", "--max-path-tokens", "150"]
    _, url = served_process("-m", str(real_model("smollm2")), "-w", "2", *settings)
    turns = [
        {"role": "system", "content": "You are a calculator. Be brief."},
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": "\\boxed{5}"},
        {"role": "user", "content": "What is 4 + 3? Put the final answer in a box."},
    ]
    with client(url) as server:
        found = server.chat.completions.create(model="smollm2", messages=turns, temperature=0.5, max_tokens=120)
        assert found.choices[0].message.content.strip()
        assert found.usage.prompt_tokens > 40
        assert found.usage.completion_tokens <= 400
        stream = server.chat.completions.create(model="smollm2", messages=turns, stream=True, max_tokens=60)
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip()
    assert chunks[-1].model_extra["ramify"]["usage"]["policy"]["reevaluated_tokens"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "--port"),
        (["--max-runs", "0"], "--max-runs"),
        (["--max-queued", "-1"], "--max-queued"),
        (["--grace", "soon"], "--grace"),
        (["--host", "0.0.0.0"], "--api-key"),
        (["--host", "no such host", "--open"], "no address"),
        (["--api-key", "a b"], "cannot be sent"),
        (["--api-keys", "/no/such/file"], "--api-keys"),
        (["--strategy", "rebas"], "rebase"),
        (["--strategy", "rebase", "--reward", "none"], "needs a reward"),
        (["--width", "0"], "--width"),
    ],
)
def test_wrong_options_are_one_line_before_anything_is_loaded(arguments, words, capsys):
    assert main(["serve", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("presets = 3", "presets has to be a table"),
        ("[presets.x]\nwidht = 3", "widht"),
        ("[presets.x]\nwidth = 0", "width"),
        ('[presets."a@b"]\nwidth = 3', "no name of a preset"),
        ("[presets]\nx = 3", "has to be a table"),
    ],
)
def test_wrong_presets_name_their_place(text, words, tmp_path, monkeypatch, capsys):
    file = tmp_path / "config.toml"
    file.write_text(text)
    monkeypatch.setenv("RAMIFY_CONFIG", str(file))
    assert main(["serve"]) == 2
    error = capsys.readouterr().err
    assert words in error and f"{file}:" in error


def test_a_key_and_a_file_of_keys_are_not_both_taken(tmp_path, capsys):
    file = tmp_path / "keys.toml"
    file.write_text('[ann]\nkey = "x"\n')
    assert main(["serve", "--api-key", "y", "--api-keys", str(file)]) == 2
    assert "use --api-key or --api-keys" in capsys.readouterr().err


def example(name: str, url: str) -> str:
    """Return what a program of the examples prints when it asks a server."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[2] / "examples" / "server" / name)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "RAMIFY_URL": f"{url}/v1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("bundled")
def test_the_examples_for_clients_run(served_process):
    _, url = served_process()
    for name in ("openai_client.py", "steering.py"):
        assert example(name, url).strip()


@pytest.mark.usefixtures("bundled")
@pytest.mark.parametrize(
    ("module", "name"), [("langchain_openai", "langchain_client.py"), ("litellm", "litellm_client.py")]
)
def test_the_examples_of_frameworks_run(served_process, module, name):
    pytest.importorskip(module)
    _, url = served_process()
    assert "tokens on all paths" in example(name, url)


@pytest.mark.usefixtures("bundled")
async def test_the_example_of_a_web_handler_answers():
    file = Path(__file__).parents[2] / "examples" / "server" / "web_handler.py"
    spec = importlib.util.spec_from_file_location("web_handler", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_handler"] = module
    spec.loader.exec_module(module)
    async with module.lifespan(module.app):
        transport = httpx.ASGITransport(module.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE_S) as http:
            found = await http.get("/answer", params={"question": QUESTION})
            empty = await http.get("/answer", params={"question": " "})
    assert (found.status_code, found.json()["answer"]) == (200, "7")
    assert empty.status_code == 400
