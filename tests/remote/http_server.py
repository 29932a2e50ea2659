"""A small OpenAI-compatible server for tests, with the manners and faults of real ones."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ramify.engine.policy.prompts.prompt_files import PRESETS

PIECE = re.compile(r"\n|[^\n\S]*\S+|[^\n\S]+")
"""What the server counts as a token: a word with the space before it, or a newline."""


EXAMPLES = PRESETS["gsm8k"].base_examples
"""What stands in a prompt for completions before the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request asks for. `text` is what the model has read, `prefix` the part of it that it wrote itself."""

    question: str
    prefix: str
    seed: int | None
    body: dict[str, Any]


Write = Callable[[Ask], "list[str]"]
"""Returns the tokens of the rest of a text; the end-of-sequence token is not among them."""


@dataclass(slots=True, kw_only=True)
class Manners:
    """How the server behaves.

    `tells` is what it says of the end of a text, after vLLM, SGLang or llama-server, "" nothing. `usage` None leaves it
    out, a number is added to the tokens counted. `continues` says when it goes on with a message: told to by "flags",
    "always", or "never". `fault` is asked before each text with the number of the request and may return an HTTP code
    with a body and headers, "hang", "break" (a stream that ends in the middle), or "nonsense". A stream has the type
    `kind` and begins with `lead`; `dialect` changes each of its lines. With `caches` it tells how many tokens of a
    prompt it had read or written before.
    """

    tells: str = "vllm"
    stream: bool = True
    logprobs: bool = True
    usage: int | None = 0
    ignore_stop: bool = False
    ignore_n: bool = False
    continues: str = "flags"
    refused: frozenset[str] = frozenset()
    context_tokens: int | None = None
    delay_s: float = 0.0
    fault: Callable[[int, dict[str, Any]], Any] = lambda number, body: None
    kind: str = "text/event-stream; charset=utf-8"
    lead: bytes = b""
    caches: bool = False
    dialect: Callable[[bytes], bytes] = lambda line: line


@dataclass(slots=True)
class FakeServer:
    """A running server. `texts` holds the bodies of the requests for texts, `headers` all headers received."""

    write: Write
    manners: Manners
    key: str | None = None
    texts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    answered: int = 0
    most_at_once: int = 0
    broken_off: int = 0
    generated: int = 0
    read: int = 0
    known: set[tuple[str, ...]] = field(default_factory=set[tuple[str, ...]])
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _http: Any = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def start(self) -> None:
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def encrypt(self, context: ssl.SSLContext) -> None:
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)

    def stop(self) -> None:
        """Close the server; requests in flight are broken off."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._http.shutdown()
            self._http.server_close()

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the server runs."""
        self._stopping.wait(seconds)
        if self._stopping.is_set():
            raise ConnectionAbortedError

    def cached(self, prompt: str, texts: list[Any]) -> int:
        """Return how many tokens of a prompt were known, and keep it with the texts that follow it."""
        pieces = PIECE.findall(prompt)
        with self._lock:
            found = next(
                length for length in range(len(pieces), -1, -1) if not length or (*pieces[:length],) in self.known
            )
            for text in texts:
                whole = PIECE.findall(prompt + "".join(piece for piece, _ in text.pieces))
                self.known |= {(*whole[:length],) for length in range(len(whole) + 1)}
        return found

    @contextmanager
    def working(self) -> Iterator[int]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            number = len(self.texts)
        try:
            yield number
        finally:
            with self._lock:
                self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of these tests break off."""


@contextmanager
def serving(write: Write, key: str | None = None, **manners: Any) -> Iterator[FakeServer]:
    """Run a server during the block."""
    server = FakeServer(write, Manners(**manners), key)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.headers.append(dict(self.headers))
            if self._allowed():
                owner = {"llama": "llamacpp", "vllm": "vllm"}.get(server.manners.tells, "")
                model = {"id": "m", "owned_by": owner, "max_model_len": server.manners.context_tokens}
                self._send(200, {"object": "list", "data": [model]})

        def do_POST(self) -> None:
            server.headers.append(dict(self.headers))
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self._allowed():
                return
            unknown = sorted(server.manners.refused & body.keys())
            if unknown:
                self._send(400, {"error": {"message": f"Unrecognized request argument supplied: {unknown[0]}"}})
                return
            if body.get("stream") or "seed" in body:
                server.texts.append(body)
                with server.working() as number:
                    self._text(body, number)
            else:
                self._answer(body)

        def log_message(self, format: str, *args: Any) -> None: ...

        def _allowed(self) -> bool:
            given = self.headers.get("Authorization")
            if server.key is None or given == f"Bearer {server.key}":
                return True
            self._send(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
            return False

        def _text(self, body: dict[str, Any], number: int) -> None:
            fault = server.manners.fault(number, body)
            if server.manners.delay_s:
                server.wait(server.manners.delay_s)
            if fault == "hang":
                server.wait(60.0)
            if fault == "nonsense":
                self._send(200, b"<html>it works</html>")
            elif isinstance(fault, tuple):
                self._send(*fault)
            else:
                self._answer(body, broken=fault == "break")

        def _answer(self, body: dict[str, Any], *, broken: bool = False) -> None:
            ask, prompt = _understood(body, server.manners)
            if server.manners.context_tokens and len(PIECE.findall(prompt)) > server.manners.context_tokens:
                self._send(400, {"error": {"message": "This model's maximum context length is exceeded."}})
                return
            count = 1 if server.manners.ignore_n else body.get("n", 1)
            texts = [_written(server, ask, body, index) for index in range(count)]
            chat = "messages" in body
            spent = sum(each.spent for each in texts)
            usage: dict[str, Any] = {"prompt_tokens": len(PIECE.findall(prompt)), "completion_tokens": spent}
            if server.manners.caches:
                usage["prompt_tokens_details"] = {"cached_tokens": server.cached(prompt, texts)}
            server.generated += usage["completion_tokens"]
            server.read += usage["prompt_tokens"]
            usage["completion_tokens"] += server.manners.usage or 0
            if body.get("stream") and server.manners.stream:
                self._stream(texts, usage, body, chat=chat, broken=broken)
            else:
                choices = [_whole(index, text, body, chat) for index, text in enumerate(texts)]
                self._send(200, {"choices": choices, **({} if server.manners.usage is None else {"usage": usage})})
            server.answered += 1

        def _stream(self, texts: list[_Text], usage: Any, body: Any, *, chat: bool, broken: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", server.manners.kind)
            self.end_headers()
            try:
                self.wfile.write(server.manners.lead)
                for index, text in enumerate(texts):
                    for place, piece in enumerate(text.pieces):
                        if broken and place == 1:
                            return
                        self._event({"choices": [_piece(index, piece, body, chat)]})
                    self._event({"choices": [_last(index, text, chat)], **text.detail})
                each = [usage]
                if server.manners.tells == "llama":
                    each = [{**usage, "completion_tokens": text.spent + (server.manners.usage or 0)} for text in texts]
                for counted in each if server.manners.usage is not None and "stream_options" in body else []:
                    self._event({"choices": [], "usage": counted})
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                server.broken_off += 1

        def _event(self, data: Any) -> None:
            self.wfile.write(server.manners.dialect(f"data: {json.dumps(data)}\n\n".encode()))
            self.wfile.flush()

        def _send(self, code: int, data: Any, headers: dict[str, str] | None = None) -> None:
            content = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

    return Handler


@dataclass(slots=True)
class _Text:
    """What is sent of one text: its pieces with log probabilities, how it ended, what was spent on it."""

    pieces: list[tuple[str, float | None]]
    finish: str
    ending: dict[str, Any]
    detail: dict[str, Any]
    spent: int


def _understood(body: dict[str, Any], manners: Manners) -> tuple[Ask, str]:
    """Return what is asked, and the whole prompt."""
    if "prompt" in body:
        question, _, prefix = body["prompt"].removeprefix(EXAMPLES).partition("\nAnswer:")
        return Ask(question=question, prefix=prefix, seed=body.get("seed"), body=body), body["prompt"]
    messages = body["messages"]
    question = next(each["content"] for each in reversed(messages) if each["role"] == "user")
    prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    prompt = "".join(f" <{each['role']}> {each['content']}" for each in messages)
    goes_on = manners.continues == "always" or (manners.continues == "flags" and body.get("continue_final_message"))
    if prefix and not goes_on:
        prompt, prefix = f"{prompt} <end> <assistant> <start>", ""
    elif not prefix:
        prompt += " <assistant>"
    return Ask(question=question, prefix=prefix, seed=body.get("seed"), body=body), prompt


def _written(server: FakeServer, ask: Ask, body: dict[str, Any], index: int) -> _Text:
    manners = server.manners
    seed = None if ask.seed is None else ask.seed + index
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 16
    tokens = server.write(Ask(question=ask.question, prefix=ask.prefix, seed=seed, body=ask.body))
    stops = [] if manners.ignore_stop else body.get("stop", [])
    kept, text, word = list[str](), "", ""
    for token in tokens[:limit]:
        text += token
        word = next((each for each in stops if each in text), "")
        if word:
            break
        kept.append(token)
    if word:
        rest = text[: text.index(word)].removeprefix("".join(kept))
        kept += [rest] if rest else []
    ended = not word and len(tokens) < limit
    spent = min(limit, len(kept) + 1 if word or ended else len(kept))
    want = bool(body.get("logprobs")) and manners.logprobs
    ending, detail = _ending(manners.tells, word, ended)
    pieces = [(piece, -0.5 if want else None) for piece in kept]
    return _Text(pieces, "stop" if word or ended else "length", ending, detail, spent)


def _ending(tells: str, word: str, ended: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    if tells == "vllm":
        return {"stop_reason": word or None}, {}
    if tells == "sglang":
        return {"matched_stop": word or (7 if ended else None)}, {}
    if tells == "llama":
        return {}, {"__verbose": {"stop_type": "word" if word else "eos" if ended else "limit"}}
    return {}, {}


def _piece(index: int, piece: tuple[str, float | None], body: Any, chat: bool) -> dict[str, Any]:
    text, logprob = piece
    choice: dict[str, Any] = {"index": index, "finish_reason": None}
    choice |= {"delta": {"content": text}} if chat else {"text": text}
    if logprob is not None:
        listed = {"content": [{"token": text, "logprob": logprob}]}
        choice["logprobs"] = listed if chat else {"tokens": [text], "token_logprobs": [logprob]}
    return choice


def _last(index: int, text: _Text, chat: bool) -> dict[str, Any]:
    empty: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
    return {"index": index, "finish_reason": text.finish, **empty, **text.ending}


def _whole(index: int, text: _Text, body: Any, chat: bool) -> dict[str, Any]:
    written = "".join(piece for piece, _ in text.pieces)
    choice: dict[str, Any] = {"index": index, "finish_reason": text.finish, **text.ending}
    return choice | ({"message": {"role": "assistant", "content": written}} if chat else {"text": written})
