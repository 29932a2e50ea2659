"""An OpenAI-compatible endpoint in front of one policy and one reward in ramify's runtime, with a meter a client.

    python benchmarks/peers/endpoint.py --model demo-m:f16 --reward demo-prm --port 8080

It answers `/v1/models`, `/v1/chat/completions` and `/v1/completions` (n, stop, seed, temperature, top_p, top_k, min_p,
max_tokens, usage; `continue_final_message` goes on with the last message) and `/score`: `{"prompt": question, "texts":
[...]}` gives `{"scores": [...]}`, one score from 0 to 1 for each text so far. A client is who its `Authorization:
Bearer NAME` says; `POST /take` returns what it has used since the last time, and frees what is cached for it. Prefixes
are kept between the requests of one client, never between clients. With `--upstream URL`, clients with @llama-server in
their name get their texts from there. The server prints its address and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from meter import Count, Meter
from scores import ScoreService
from texts import Ask, Text, TextService, Written
from upstream import MARK, forwarded

from ramify.config import EngineConfig
from ramify.engine.loading import load_models
from ramify.engine.policy.llama import LlamaPolicy
from ramify.errors import RamifyError, UsageError
from ramify.sampling_params import TokenSampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All that answers requests; `scores` is None without a reward, `upstream` is "" without another server."""

    texts: TextService
    scores: ScoreService | None
    meter: Meter
    upstream: str = ""


@asynccontextmanager
async def services(
    model: str, reward: str | None, *, threads: int | None, seed: int, upstream: str, prompt_preset: str | None = None
) -> AsyncGenerator[Services]:
    """Load the models and hold them during the block."""
    async with AsyncExitStack() as stack:
        policy, judge = await load_models(
            stack, model, reward, EngineConfig(threads=threads, prompt_preset=prompt_preset)
        )
        if not isinstance(policy, LlamaPolicy):
            raise UsageError(f"{model} is not a model file", "name a bundled model or a .gguf file")
        scores = None if judge is None else ScoreService(judge, policy.prompt)
        yield Services(texts=TextService(policy, seed), scores=scores, meter=Meter(), upstream=upstream)


def handler(found: Services, portal: BlockingPortal) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path.removeprefix("/v1") == "/models":
                self._send(200, _models(found.texts.policy))
            else:
                self._send(404, _error(f"there is no {self.path} here"))

        def do_POST(self) -> None:
            peer = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip() or "nobody"
            try:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                answer = self._answer(self.path.removeprefix("/v1"), peer, body)
            except (RamifyError, ValueError, TypeError, KeyError) as error:
                self._send(400, _error(str(error)))
                return
            if answer is None:
                self._send(404, _error(f"there is no {self.path} here"))
            elif body.get("stream") and "choices" in answer:
                self._stream(answer)
            else:
                self._send(200, answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def _answer(self, path: str, peer: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
            if path == "/take":
                return portal.call(_take, found, peer)
            if path == "/score":
                with found.meter.busy(peer):
                    return portal.call(_score, found, peer, body)
            if path not in ("/chat/completions", "/completions"):
                return None
            if found.upstream and MARK in peer:
                with found.meter.busy(peer):
                    answer, count = forwarded(found.upstream, path, body)
                found.meter.add(peer, count)
                return answer
            ask = understood(peer, body, chat=path == "/chat/completions")
            with found.meter.busy(peer):
                written = portal.call(found.texts.write, ask)
            texts = written.texts
            found.meter.add(peer, _count(written))
            return _completion(body, written, [_choice(*each, chat=ask.prompt is None) for each in enumerate(texts)])

        def _send(self, code: int, data: Mapping[str, Any]) -> None:
            self._write(code, "application/json", json.dumps(data).encode())

        def _stream(self, answer: dict[str, Any]) -> None:
            """Send all of each text in one event: the texts are finished by then."""
            events = [{**answer, "choices": [_delta(choice)], "usage": None} for choice in answer["choices"]]
            events.append({**answer, "choices": []})
            lines = [f"data: {json.dumps(each)}\n\n" for each in events]
            self._write(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())

        def _write(self, code: int, kind: str, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def understood(peer: str, body: Mapping[str, Any], *, chat: bool) -> Ask:
    """Return the texts that a request asks for, with their sampling.

    Raises:
        UsageError: if it is not a request for texts.
    """
    stops = body.get("stop") or ()
    stops = (stops,) if isinstance(stops, str) else tuple(str(each) for each in stops)
    sampling = TokenSampling(
        temperature=_number(body, "temperature", 1.0),
        top_p=_number(body, "top_p", 1.0),
        top_k=max(0, int(_number(body, "top_k", 0))),
        min_p=_number(body, "min_p", 0.0),
    )
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    seed = body.get("seed")
    common: dict[str, Any] = {
        "peer": peer,
        "count": int(_number(body, "n", 1)),
        "max_tokens": None if limit is None else int(limit),
        "seed": None if seed is None else int(seed),
        "stops": stops,
        "sampling": sampling,
    }
    if not 1 <= common["count"] <= 256:
        raise UsageError(f"n is {common['count']}", "use a number from 1 to 256")
    if not chat:
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise UsageError("the prompt is not a text", "send one prompt as a string")
        return Ask(prompt=prompt, **common)
    messages = [(str(each["role"]), str(each.get("content") or "")) for each in body.get("messages") or ()]
    if not messages:
        raise UsageError("there are no messages", "send at least one")
    goes_on = bool(body.get("continue_final_message")) and messages[-1][0] == "assistant"
    prefix = messages.pop()[1] if goes_on else ""
    # As a question is put in-process: without the space around it.
    messages = [(role, content.strip() if role == "user" else content) for role, content in messages]
    return Ask(messages=tuple(messages), prefix=prefix, **common)


async def _take(found: Services, peer: str) -> dict[str, Any]:
    found.texts.forget(peer)
    if found.scores is not None:
        await found.scores.forget(peer)
    return dict(found.meter.take(peer).to_dict())


async def _score(found: Services, peer: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if found.scores is None:
        raise UsageError("there is no reward here", "start the endpoint with --reward")
    texts = [str(each) for each in body["texts"]]
    scores, tokens = await found.scores.score(peer, str(body["prompt"]), texts)
    found.meter.add(peer, Count(reward_requests=1, reward_tokens=tokens))
    return {"scores": scores, "usage": {"prompt_tokens": tokens}}


def _count(written: Written) -> Count:
    return Count(
        requests=1,
        texts=len(written.texts),
        sent_tokens=written.sent_tokens,
        prompt_tokens=written.prompt_tokens,
        generated_tokens=sum(text.generated_tokens for text in written.texts),
    )


def _completion(body: Mapping[str, Any], written: Written, choices: list[dict[str, Any]]) -> dict[str, Any]:
    generated = sum(text.generated_tokens for text in written.texts)
    usage = {
        "prompt_tokens": written.sent_tokens,
        "completion_tokens": generated,
        "total_tokens": written.sent_tokens + generated,
        "prompt_tokens_details": {"cached_tokens": max(0, written.sent_tokens - written.prompt_tokens)},
    }
    kind = "chat.completion" if "messages" in body else "text_completion"
    head = {"id": "cmpl", "object": kind, "created": int(time.time()), "model": body.get("model") or ""}
    return {**head, "choices": choices, "usage": usage}


def _choice(index: int, text: Text, *, chat: bool) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "finish_reason": text.finish, "stop_reason": text.stop, "logprobs": None}
    return choice | ({"message": {"role": "assistant", "content": text.text}} if chat else {"text": text.text})


def _delta(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {("delta" if name == "message" else name): value for name, value in choice.items()}


def _models(policy: LlamaPolicy) -> dict[str, Any]:
    meta = {"n_params": policy.parameters, "n_ctx": policy.context_tokens}
    served = {"id": policy.name, "object": "model", "owned_by": "ramify", "meta": meta}
    return {"object": "list", "data": [{**served, "max_model_len": policy.context_tokens}]}


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": 400}}


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    return default if value is None else float(value)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo-m:f16")
    parser.add_argument("--reward", default="demo-prm", help='"" for none')
    parser.add_argument("--prompt-preset", help="how the model is prompted (default: what suits it)")
    parser.add_argument("--threads", type=int, help="processor threads of each model (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of texts whose request has no seed")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--upstream", default="", help="address of another server for clients with @llama-server")
    options = parser.parse_args()
    with start_blocking_portal() as portal:
        chosen = {"threads": options.threads, "seed": options.seed, "upstream": options.upstream}
        opened = services(options.model, options.reward or None, prompt_preset=options.prompt_preset, **chosen)
        with portal.wrap_async_context_manager(opened) as found:
            server = _Server(("127.0.0.1", options.port), handler(found, portal))
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
            sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
            sys.stdout.flush()
            sys.stdin.read()
            server.shutdown()
            server.server_close()


if __name__ == "__main__":
    main()
