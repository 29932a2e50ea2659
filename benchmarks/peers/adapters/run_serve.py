"""`ramify serve`: a server of its own, asked by the API; each request is a search. The method is `serve/STRATEGY`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import deque
from contextlib import ExitStack
from typing import Any

from common import Settings, Solve, run

NAME = "policy"
_SERVED_AT = re.compile(r"served at (http://[^/\s]+)/v1")


def prepare(settings: Settings, stack: ExitStack) -> Solve:
    """Start the server, which ends with `stack`, and return the solver of one problem."""
    strategy = settings.method.partition("/")[2]
    command = [sys.executable, "-m", "ramify", "serve", "-m", settings.model, "--port", "0", "--name", NAME]
    command += ["-r", "none" if strategy == "majority" else settings.reward, "--threads", str(settings.threads)]
    command += ["--prompt-preset", settings.prompt_preset] if settings.prompt_preset else []
    server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    stack.callback(server.terminate)
    address = _address(server)
    search = {
        "strategy": strategy,
        "width": settings.samples,
        "budget": {"generated_tokens": settings.budget_tokens},
        "seed": settings.seed,
        "max_path_tokens": settings.max_tokens,
        "temperature": settings.temperature,
    }

    def solve(question: str) -> dict[str, Any]:
        body = {"model": NAME, "messages": [{"role": "user", "content": question}], "ramify": search}
        request = urllib.request.Request(
            f"{address}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as reply:
                found = json.load(reply)["ramify"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"the server answers {error.code}: {error.read().decode()[:300]}") from None
        policy, judge = found["usage"]["policy"], found["usage"]["reward"]
        usage = {
            "generated_tokens": policy["generated_tokens"],
            "prompt_tokens": policy["prompt_tokens"] + policy["reevaluated_tokens"],
            "reward_tokens": judge["prompt_tokens"] + judge["generated_tokens"] + judge["reevaluated_tokens"],
        }
        return {"answer": found["answer"], "usage": usage}

    return solve


def _address(server: subprocess.Popen[str]) -> str:
    """Return where the server listens, which it says once the model is loaded."""
    assert server.stdout is not None
    said = list[str]()
    for line in server.stdout:
        said.append(line)
        found = _SERVED_AT.search(line)
        if found is not None:
            # Nobody reads the log of its requests, and a full pipe would stop it.
            threading.Thread(target=lambda: deque(server.stdout or (), maxlen=0), daemon=True).start()
            return found[1]
    raise RuntimeError(f"ramify serve does not start: {''.join(said[-3:])}")


if __name__ == "__main__":
    with ExitStack() as opened:
        run(lambda settings: prepare(settings, opened))
