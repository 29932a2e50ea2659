"""Names of rewards as users write them, read in one way for every command and interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ramify.errors import ModelLoadError, RewardSpecError, UsageError
from ramify.files import is_file, user_path
from ramify.reward.algebra import Part, parts_of, read_combination, renamed
from ramify.reward.arithmetic_reward import ARITHMETIC, EXACT_ARITHMETIC
from ramify.reward.likelihood_head import read_head
from ramify.reward.noise import NOISY, split_noisy
from ramify.reward.published import FAMILIES
from ramify.reward.spec_loading import is_named, load_spec, spec_from_metadata
from ramify.reward.totals import TOTALS
from ramify.text import nearest_word
from ramify.tools.sandbox import best_wall

from ..library.catalog import bundled_heads, list_bundled, list_user_models, resolve_model
from ..policy.remote.address import PREFIX
from ..runtime.llama.gguf_check import check_gguf
from .code_rewards import EXAMPLES, TOOL
from .confidence import CONFIDENCES, ConfidenceName
from .http_reward import PREFIX as HTTP
from .http_reward import ScoreAddress, Wire, is_http, parse_score_address, text_format
from .judge import JudgeAddress, parse_address

CHECKS = (ARITHMETIC, EXACT_ARITHMETIC, TOTALS)
"""Names of the rewards that check a path's text without a model."""
HEAD = "head:"
"""`head:demo-l` names the bundled likelihood head on the judge demo-l."""
NO_REWARD, DEFAULT_REWARD_NAME = "none", "default"
"""Names that mean no reward, and the one that goes with the policy; an engine settles both before it loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardName:
    """A reward as it is named.

    `text` is all of the name, `plain` the part without noise, and `model` the part that names a file, "" if there is
    none; the file is `path`, and results call it `name`. `checks` means a check of the text, without a model, and
    `runs` the examples that code passes or the results of tools.
    `confidence` is the kind of a language model's confidence, that of the policy itself where there is no `path`.
    `judge` is the address of a judge, `service` that of a reward behind HTTP. Without these five, the file is a reward
    model, or the folder of a checkpoint (`is_checkpoint`). `head` is the file of a likelihood head, and `path` then the
    judge that it reads. `sigmas` are the standard deviations of noise on the scores, outermost first. `parts` are the
    rewards of a combination, which has none of the other fields but its text.
    """

    text: str
    plain: str
    model: str = ""
    name: str = ""
    path: Path | None = None
    confidence: ConfidenceName | None = None
    judge: JudgeAddress | None = None
    service: ScoreAddress | None = None
    is_checkpoint: bool = False
    checks: bool = False
    runs: bool = False
    head: Path | None = None
    sigmas: tuple[float, ...] = ()
    parts: tuple[RewardName, ...] = ()

    @property
    def reads_policy(self) -> bool:
        """True for the confidence of the policy itself, and for a combination with it."""
        if self.parts:
            return any(part.reads_policy for part in self.parts)
        return self.confidence is not None and self.path is None

    @property
    def is_reward_model(self) -> bool:
        """True for a reward model's file or checkpoint, which a spec may be asked for."""
        return self.path is not None and self.confidence is None and self.head is None

    @property
    def is_bundled_head(self) -> bool:
        """True for a bundled likelihood head, which is named by its judge."""
        return self.head is not None and self.plain == f"{HEAD}{self.model}"

    @property
    def temperature(self) -> float | None:
        """Temperature of REBASE that the first head was tried with, None without one; reads the heads' files."""
        found = (read_head(each.head).temperature for each in self.singles if each.head is not None)
        return next((each for each in found if each is not None), None)

    @property
    def singles(self) -> tuple[RewardName, ...]:
        """The rewards of a combination, or this one alone."""
        return self.parts or (self,)

    def renamed(self, name: Callable[[str], str]) -> str:
        """Return the text with other names of the same files, as `name` gives them."""
        if self.parts:
            return str(renamed(read_combination(self.text), lambda text: read_reward_name(text).renamed(name)))
        if self.head is not None and not self.is_bundled_head:
            # The name is read in another folder, so both files are named in full.
            return f"{self.text.removesuffix(self.plain)}{HEAD}{self.head}@{name(self.model)}"
        return self.text.removesuffix(self.model) + name(self.model) if self.model else self.text


def read_reward_name(source: str | Path) -> RewardName:
    """Return the reward that a name or path stands for.

    That is one of CHECKS, EXAMPLES or TOOL, one of CONFIDENCES, also with `:MODEL` for another
    language model's, `head:JUDGE` for a bundled likelihood head, `head:FILE` or `head:FILE@MODEL` for one of the
    user's, `openai:URL#MODEL`, `http:URL`, the folder of a Hugging Face checkpoint, or a model as `resolve_model`
    knows it; `noisy:SIGMA:REWARD` is one of these with noise on its scores. Combinations of them are read by
    `ramify.reward.algebra`.

    Raises:
        ModelLoadError: if there is no such file or model; the message has the nearest name of a reward.
        UsageError: if the name is malformed.
    """
    if isinstance(source, str) and not is_file(user_path(source)):
        combination = read_combination(source)
        if not isinstance(combination, Part):
            names = tuple(read_reward_name(str(part.source)) for part in parts_of(combination))
            return RewardName(text=source, plain=source, name=source, parts=names)
        source = str(combination.source)
    sigmas = list[float]()
    inner = source
    while isinstance(inner, str) and inner.startswith(NOISY):
        try:
            sigma, inner = split_noisy(inner)
        except RewardSpecError as error:
            raise UsageError(str(error)) from error
        sigmas.append(sigma)
    return replace(_plain_name(inner), text=str(source), sigmas=tuple(sigmas))


def check_reward(source: str | Path, spec: str | None = None) -> RewardName:
    """Return the reward that a name stands for, after all checks that need no loaded model.

    `spec` is the format that is asked for, None for that of the file.

    Raises:
        ModelLoadError: if there is no such file, or it is no reward model; the message says how it can be used.
        UsageError: if the name is malformed, or there is no such format.
    """
    found = read_reward_name(source)
    if found.plain == EXAMPLES:
        best_wall()
    if found.parts:
        for part in found.parts:
            check_reward(part.text, spec if part.is_reward_model or part.service is not None else None)
        return found
    try:
        given = None if spec is None else load_spec(spec)
        if found.service is not None and found.service.wire is Wire.POOLING:
            text_format(given)
        if given is not None:
            return found
        if found.is_reward_model and found.path is not None and not found.is_checkpoint:
            metadata = check_gguf(found.path).metadata
            known = spec_from_metadata(metadata) is not None or any(is_named(each, metadata) for each in FAMILIES)
            if not known:
                raise ModelLoadError(
                    f"{found.name} does not say how it reads steps, so it cannot be used as a reward model",
                    f"score by its likelihood with mean-logprob:{found.model}, or name its format with a reward "
                    "spec (--reward-spec)",
                )
    except RewardSpecError as error:
        raise UsageError(str(error)) from error
    return found


def reads_no_policy(kind: str) -> UsageError:
    """Return the error for a policy's own confidence where the policy is not run here."""
    return UsageError(
        f"the reward {kind} reads the policy, which is no GGUF model here",
        f"use another --reward, such as {kind}:FILE with a GGUF model",
    )


def _plain_name(source: str | Path) -> RewardName:
    # A Path means a file, even if a model has its name.
    text = source if isinstance(source, str) else str(user_path(source).absolute())
    if isinstance(source, str):
        if source in CHECKS:
            return RewardName(text=text, plain=text, name=text, checks=True)
        if source in (EXAMPLES, TOOL):
            return RewardName(text=text, plain=text, name=text, runs=True)
        for kind in CONFIDENCES:
            if source == kind:
                return RewardName(text=text, plain=text, confidence=kind)
            if source.startswith(f"{kind}:"):
                model = source.removeprefix(f"{kind}:")
                ref = resolve_model(model)
                return RewardName(text=text, plain=text, model=model, name=ref.name, path=ref.path, confidence=kind)
        if source.startswith(HEAD):
            return _head_name(source)
        if source.startswith(PREFIX):
            return RewardName(text=text, plain=text, judge=parse_address(source))
        if is_http(source):
            return RewardName(text=text, plain=text, service=parse_score_address(source))
    folder = user_path(source)
    if is_file(folder / "config.json"):
        return RewardName(text=text, plain=text, model=text, name=folder.name, path=folder, is_checkpoint=True)
    try:
        ref = resolve_model(source)
    except ModelLoadError as error:
        near = _nearest(text)
        if near is None:
            raise
        raise ModelLoadError(f"there is no reward {text!r}", f"did you mean {near!r}?") from error
    return RewardName(text=text, plain=text, model=text, name=ref.name, path=ref.path)


def _head_name(source: str) -> RewardName:
    """Return a likelihood head with its judge.

    Raises:
        ModelLoadError: if there is no such head, its file is damaged, or its judge is missing.
        UsageError: if no head is named.
    """
    inner = source.removeprefix(HEAD)
    bundled = bundled_heads()
    if inner.partition(":")[0] in bundled and not is_file(user_path(inner)):
        ref = resolve_model(inner)
        head = bundled[inner.partition(":")[0]]
        return RewardName(text=source, plain=source, model=inner, name=source, path=ref.path, head=head)
    file, at, model = _split_judge(inner)
    if not file.strip():
        raise UsageError(
            f"{source!r} names no head", f"write it like {HEAD}{next(iter(bundled), 'FILE')} or {HEAD}FILE"
        )
    path = user_path(file).absolute()
    if not is_file(path):
        near = nearest_word(file, bundled, cutoff=0.6)
        hint = f"did you mean {f'{HEAD}{near}'!r}?" if near else f"bundled are {', '.join(bundled) or 'none'}"
        raise ModelLoadError(f"there is no likelihood head {file!r}", hint)
    judge = model if at else read_head(path).judge
    try:
        ref = resolve_model(judge)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"the judge {judge!r} of the head {path.name} is missing", f"name it: {HEAD}{file}@MODEL"
        ) from error
    name = f"{HEAD}{path.stem}"
    return RewardName(text=source, plain=source, model=judge, name=name, path=ref.path, head=path)


def _split_judge(text: str) -> tuple[str, str, str]:
    """Return the file of a head, "@" if a judge is named, and the judge.

    Both paths may have that sign themselves: the longest part before one that is a file is the head.
    """
    if is_file(user_path(text)):
        return text, "", ""
    places = [place for place, sign in enumerate(text) if sign == "@"]
    found = next((place for place in reversed(places) if is_file(user_path(text[:place]))), None)
    if found is None:
        return text.rpartition("@") if places else (text, "", "")
    return text[:found], "@", text[found + 1 :]


def _nearest(text: str) -> str | None:
    """Return the name of a reward that a wrong one may stand for, None for the path of a file."""
    kind, colon, rest = text.partition(":")
    words = [
        *CONFIDENCES,
        ARITHMETIC,
        TOTALS,
        HEAD.rstrip(":"),
        NOISY.rstrip(":"),
        PREFIX.rstrip(":"),
        HTTP.rstrip(":"),
    ]
    if not colon:
        entries = (*list_bundled(), *list_user_models())
        rewards = [each.name for each in entries if each.role != "policy"]
        words = [*CONFIDENCES, *CHECKS, EXAMPLES, TOOL, NO_REWARD, DEFAULT_REWARD_NAME, *rewards]
    is_path = "/" in kind or (text.endswith(".gguf") and not colon)
    near = None if is_path or kind in words else nearest_word(kind.lower(), words, cutoff=0.6)
    return None if near is None else f"{near}{colon}{rest}"
