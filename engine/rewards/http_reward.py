"""A reward model behind an HTTP interface: ramify's own, vLLM's `/pooling` or llama-server's `/reranking`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any, cast
from urllib.parse import urlsplit

from ramify.errors import MalformedText, RewardError, UsageError
from ramify.json_text import read_json
from ramify.reward.protocol import ScoredStep, ScoreUsage
from ramify.reward.published import qwen_prm_spec
from ramify.reward.scores import combined, sigmoid
from ramify.reward.specs import QUESTION, STEP, RewardSpec

from ..policy.remote.address import KEY_VARIABLES, check_sendable, key_from_environment
from ..policy.remote.address import parse_address as parse_remote_address
from ..policy.remote.http import HttpError, Transport
from ..policy.remote.pool import Endpoint, EndpointPool, RetryPolicy
from .endpoint_session import PARALLEL_REQUESTS, EndpointSession
from .judge import ATTEMPTS, CONNECT_S, PAUSE_S, SILENCE_S

PREFIX = "http:"
"""`http:URL` names a reward behind HTTP; http://… and https://… alone mean the same."""
SCORE_PATH = "/v1/ramify/score"
PATHS_PER_REQUEST = 64


class Wire(StrEnum):
    """Form of the requests."""

    RAMIFY = auto()
    """`POST /v1/ramify/score` of `ramify serve`: the question and the steps."""
    POOLING = auto()
    """`POST /pooling` of vLLM: the text of question and steps in the model's format; a row of numbers a score."""
    RERANKING = auto()
    """`POST /reranking` of llama-server: the question as the query and paths as documents; a logit each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAddress:
    """Place of a reward: its server, the path of its interface there, the model's name ("" for the only one)."""

    url: str
    path: str
    model: str
    wire: Wire


def is_http(name: str) -> bool:
    """Return whether a reward's name is an address."""
    return name.startswith((PREFIX, "https:"))


def parse_score_address(text: str) -> ScoreAddress:
    """Return the address in `http:URL`, `http:URL#MODEL`, or a URL alone.

    The end of the URL names the interface: /pooling, /reranking or /rerank; all others are servers of ramify.

    Raises:
        UsageError: if it is no such address, or holds a password or parameters.
    """
    inner = text if text.startswith(("http://", "https://")) else text.removeprefix(PREFIX)
    url, _, model = inner.partition("#")
    # The reader of other addresses checks the URL; it wants a model.
    found = parse_remote_address(f"openai:{url}#{model or 'any'}", "names no server of a reward")
    if len(found.urls) != 1:
        raise UsageError("a reward is asked at one address", "leave out the others")
    base = found.urls[0]
    path = urlsplit(base).path
    for end, wire in (("/pooling", Wire.POOLING), ("/reranking", Wire.RERANKING), ("/rerank", Wire.RERANKING)):
        if path.endswith(end):
            return ScoreAddress(url=base.removesuffix(end), path=end, model=model, wire=wire)
    base = base.removesuffix(SCORE_PATH).removesuffix("/v1")
    return ScoreAddress(url=base, path=SCORE_PATH, model=model, wire=Wire.RAMIFY)


def text_format(spec: object) -> RewardSpec:
    """Return the format in which a model behind `/pooling` reads texts: `spec`, None for that of Qwen2.5-Math-PRM.

    Raises:
        UsageError: if the spec is not that of a model that scores steps at marks.
    """
    if spec is None:
        return qwen_prm_spec()
    if not isinstance(spec, RewardSpec):
        raise UsageError("a reward behind /pooling has scores at its steps", "use another --reward-spec, or none")
    return spec


class HttpReward:
    """Scores paths by a server; `spec` is the format of a model behind `/pooling`, None for that of Qwen2.5-Math-PRM.

    Tokens are those that the server reports. `parameters` is 0, as they are not known.

    Raises:
        UsageError: if the key would be sent unencrypted, or the spec is not that of a model that scores steps at marks.
    """

    parameters = 0

    def __init__(self, address: ScoreAddress, spec: object = None) -> None:
        self.address = address
        self.name = f"http {address.model or address.url}"
        self._spec = text_format(spec) if address.wire is Wire.POOLING else None
        key = key_from_environment()
        check_sendable(key, address.url)
        transport = Transport(url=address.url, key=key, connect_s=CONNECT_S, silence_s=SILENCE_S)
        retry = RetryPolicy(attempts=ATTEMPTS, pause_s=PAUSE_S)
        self._pool = EndpointPool([Endpoint(transport, PARALLEL_REQUESTS)], retry)

    async def open(self, question: str) -> EndpointSession:
        """Start a session."""
        return EndpointSession(self, question, per_request=PATHS_PER_REQUEST)

    async def ask(self, question: str, steps: Sequence[ScoredStep]) -> tuple[list[float], ScoreUsage]:
        """Return the scores of some paths, in order, and their usage.

        Raises:
            RewardError: if the server cannot be reached, refuses, or gives no such scores.
        """
        body, read = self._request(question, [step.path for step in steps])
        if self.address.model:
            body["model"] = self.address.model

        async def send(endpoint: Endpoint) -> bytes | None:
            return await endpoint.transport.request(self.address.path, body)

        try:
            reply = read_json(await self._pool.send(send) or b"", lenient=True)
            values = read(reply)
            if len(values) != len(steps):
                raise ValueError(f"{len(values)} scores for {len(steps)} paths")
            return values, _usage(reply)
        except (HttpError, MalformedText) as error:
            raise self._failed(steps, str(error)) from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._failed(steps, f"its reply has no scores in the form of {self.address.path} ({error})") from None

    def _request(
        self, question: str, paths: Sequence[Sequence[str]]
    ) -> tuple[dict[str, Any], Callable[[Any], list[float]]]:
        match self.address.wire:
            case Wire.RAMIFY:
                # A step that only ends the text has none of its own, and the score of the step before it.
                written = [[step for step in path if step] or [" "] for path in paths]
                return {"question": question, "paths": written}, _last_of_each
            case Wire.RERANKING:
                documents = ["".join(path).strip() for path in paths]
                return {"query": question, "documents": documents}, _by_index
            case Wire.POOLING:
                assert self._spec is not None
                spec = self._spec
                texts = [rendered(spec, question, path) for path in paths]
                return {"input": texts}, lambda reply: _pooled(spec, paths, reply)

    def _failed(self, steps: Sequence[ScoredStep], why: str) -> RewardError:
        node = steps[0].node
        return RewardError(
            f"the reward at {self.address.url} gave no score for node {node}: {why}; check the address, the model's "
            f"name and {KEY_VARIABLES[-1]}",
            node=node,
        )


def rendered(spec: RewardSpec, question: str, path: Sequence[str]) -> str:
    """Return the text that a model reads for a path, up to the mark of its last step."""
    steps = _steps(spec, path)
    parts = [spec.prompt_template.replace(QUESTION, question)]
    for number, step in enumerate(steps):
        template = spec.step_template
        if number < len(steps) - 1 and spec.inner_step_template is not None:
            template = spec.inner_step_template
        elif number == 0 and spec.first_step_template is not None:
            template = spec.first_step_template
        text = step.strip() if spec.strip_steps else step
        parts.append(template.replace(STEP, text if spec.newline is None else text.replace("\n", spec.newline)))
    return "".join(parts)


def _steps(spec: RewardSpec, path: Sequence[str]) -> list[str]:
    """Return the steps of a path as the model was trained on them."""
    if spec.step_separator is None:
        return list(path)
    return [step for step in "".join(path).split(spec.step_separator) if step.strip()]


def _last_of_each(reply: Any) -> list[float]:
    return [float(path[-1]) for path in reply["scores"]]


def _by_index(reply: Any) -> list[float]:
    """Return the scores of a reranker in the order of the documents; they are logits, and come sorted."""
    found = {int(each["index"]): sigmoid(float(each["relevance_score"])) for each in reply["results"]}
    return [found[index] for index in range(len(found))]


def _pooled(spec: RewardSpec, paths: Sequence[Sequence[str]], reply: Any) -> list[float]:
    """Return one score for each text, of which there are rows of probabilities, one for each step.

    A node may hold several steps; then the spec says how their scores make one.
    """
    items = sorted(cast("list[Any]", reply["data"]), key=lambda each: each["index"])
    found = list[float]()
    for path, item in zip(paths, items, strict=True):
        own = max(1, len(_steps(spec, path)) - len(_steps(spec, path[:-1])))
        data = cast("list[Any]", item["data"])
        rows = data if isinstance(data[0], list) else [data]
        found.append(combined([_of_good(spec, row) for row in rows[-own:]], spec.aggregation))
    return found


def _of_good(spec: RewardSpec, row: Sequence[Any]) -> float:
    # A head has its outputs in the spec's order; of two tokens, the server is told that of a good step first.
    place = spec.good if spec.head != "lm_head" and isinstance(spec.good, int) else 0
    return float(row[place if len(row) > 1 else 0])


def _usage(reply: Any) -> ScoreUsage:
    used: dict[str, Any] = reply.get("usage") or {}
    read = used.get("prompt_tokens", used.get("total_tokens", 0))
    return ScoreUsage(evaluated_tokens=int(read or 0), generated_tokens=int(used.get("completion_tokens") or 0))
