"""Head on a judge: a small network on features of a path's steps under a language model, and its file.

A likelihood head reads, at the end of each step, 14 features of the log probabilities of the path's tokens, those of
digits apart. A states head reads also the step's entropies, margins and pooled hidden states. Both give the chance that
the path is right so far.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ramify.errors import ModelLoadError, RewardSpecError
from ramify.files import file_hash, is_file
from ramify.json_text import read_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FORMAT = "ramify likelihood head"
VERSIONS = {"tokens": 1, "states": 2}
"""Versions of the file by the judge's outputs that the head reads."""
Reads = Literal["tokens", "states"]
"""Inputs of a head: log probabilities of tokens, or hidden states beside them."""
FEATURES = 14
"""Features of the log probabilities."""
SPREADS = 6
"""Features of a step's entropies and margins."""
LEAST_LOGPROB = -20.0
"""Log probabilities are not taken lower than this."""
SURPRISE = -0.69
"""Tokens with a lower log probability, about one half, are counted."""
CLIP = 6.0
"""Bound of the standardised features, in standard deviations."""
MAX_BYTES = 1 << 23
"""Size of a head's file, at most."""


@dataclass(frozen=True, slots=True)
class PathFeatures:
    """Sums over a path's tokens so far, from which the features of its next step are made.

    `total` and `digits` are sums of log probabilities, of all tokens and of those of digits, `least` is the lowest of
    all, `surprises` the number below SURPRISE, `tokens` and `steps` the numbers of tokens and steps.
    """

    total: float = 0.0
    digits: float = 0.0
    least: float = 0.0
    surprises: int = 0
    tokens: int = 0
    steps: int = 0

    def step(self, logprobs: Sequence[float], is_digit: Sequence[bool]) -> tuple[PathFeatures, tuple[float, ...]]:
        """Return the sums after one more step, and the step's features; both sequences have a value for each token."""
        values = [min(0.0, max(LEAST_LOGPROB, value)) for value in logprobs]
        digits = [value for value, digit in zip(values, is_digit, strict=True) if digit]
        here, least = math.fsum(values), min(values, default=0.0)
        here_digits, least_digit = math.fsum(digits), min(digits, default=0.0)
        after = PathFeatures(
            self.total + here,
            self.digits + here_digits,
            min(self.least, least),
            self.surprises + sum(value < SURPRISE for value in values),
            self.tokens + len(values),
            self.steps + 1,
        )
        return after, (
            here,
            least,
            here_digits,
            least_digit,
            math.log1p(-least),
            math.log1p(-here),
            after.total,
            after.total / max(1, after.tokens),
            after.least,
            after.digits,
            math.log1p(-after.least),
            math.log1p(-after.total),
            float(after.surprises),
            float(self.steps),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodHead:
    """A trained head.

    `judge` is the name or path of the model whose log probabilities it reads, and `files` the SHA-256 of each file of
    it that the head is for, by the file's name. `reads` names these outputs of the judge. `mean` and `spread` [n]
    standardise the features, which are 14 for tokens, and for states of width w 20 + 2 w (see `pooled_features`).
    `layers` are (weight [out, in], bias [out]) with SiLU between any two; `scale` and `offset` calibrate the logit.
    `temperature` is that of REBASE with this head, None if it was not chosen. `report` holds the report of the
    training, as plain JSON.
    """

    judge: str
    files: Mapping[str, str]
    mean: Floats
    spread: Floats
    layers: tuple[tuple[Floats, Floats], ...]
    reads: Reads = "tokens"
    scale: float = 1.0
    offset: float = 0.0
    temperature: float | None = None
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def parameters(self) -> int:
        """Number of weights of the network."""
        return sum(weight.size + bias.size for weight, bias in self.layers)

    @property
    def helps(self) -> bool:
        """True if its training found that it prefers right paths; one that does not is no default anywhere."""
        return self.report.get("helps") is True

    def standardised(self, features: npt.ArrayLike) -> Floats:
        """Return features [steps, n] as the network reads them."""
        import numpy as np

        return np.clip((np.asarray(features, np.float64) - self.mean) / self.spread, -CLIP, CLIP)

    def logits(self, features: npt.ArrayLike) -> Floats:
        """Return the calibrated logits [steps] of features [steps, n]."""
        import numpy as np

        values = self.standardised(features)
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                values = values / (1.0 + np.exp(-np.clip(values, -60.0, None)))
            values = values @ weight.T + bias
        return self.scale * values[:, 0] + self.offset

    def chances(self, features: npt.ArrayLike) -> list[float]:
        """Return the chance of being right so far for features [steps, n]."""
        import numpy as np

        return [float(each) for each in np.exp(-np.logaddexp(0.0, -self.logits(features)))]

    def check_judge(self, path: Path) -> None:
        """Check that a file is one of those that the head is for.

        Raises:
            ModelLoadError: if it is not.
        """
        if sha256_of(path) not in self.files.values():
            known = " or ".join(self.files)
            raise ModelLoadError(
                f"the head was trained on {known}, and {path.name} is another file",
                "use that judge, or train a head on this one: `ramify reward train LABELS --head likelihood`",
            )

    def to_json(self) -> str:
        """Return the text of the head's file."""
        facts = {
            "format": FORMAT,
            "version": VERSIONS[self.reads],
            **({} if self.reads == "tokens" else {"reads": self.reads}),
            "judge": self.judge,
            "files": dict(self.files),
            "features": {"mean": _packed(self.mean), "spread": _packed(self.spread)},
            "layers": [
                {"shape": list(weight.shape), "weight": _packed(weight), "bias": _packed(bias)}
                for weight, bias in self.layers
            ],
            "scale": self.scale,
            "offset": self.offset,
            "temperature": self.temperature,
            "report": dict(self.report),
        }
        return json.dumps(facts, indent=1) + "\n"


def read_head(path: Path) -> LikelihoodHead:
    """Return the head of a file.

    Raises:
        ModelLoadError: if it cannot be read, or holds no likelihood head.
    """
    if not is_file(path):
        raise ModelLoadError(f"there is no likelihood head {path}", "check the path")
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelLoadError(f"the head {path} cannot be read ({error.strerror})", "check the path") from error
    if len(text) > MAX_BYTES:
        raise ModelLoadError(f"{path.name} is too large for a likelihood head", "name a file of `ramify reward train`")
    try:
        return _parsed(read_json(text))
    except RewardSpecError as error:
        raise ModelLoadError(f"{path.name} holds no usable likelihood head: {error}", "train it again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            f"{path.name} holds no likelihood head", "make one with `ramify reward train LABELS --head likelihood`"
        ) from error


def digit_flags(pieces: Iterable[bytes]) -> list[bool]:
    """Return for each token's text whether it has a digit."""
    return [any(48 <= byte <= 57 for byte in piece) for piece in pieces]


def step_counts(pieces: Sequence[bytes], steps: Sequence[str]) -> list[int]:
    """Return how many tokens each step has; `pieces` are the texts of the tokens of all steps together.

    A token belongs to the step in which its text begins. A space that the vocabulary puts before the text is no part
    of the first step.
    """
    lengths = [len(step.encode()) for step in steps]
    at = min(0, sum(lengths) - sum(map(len, pieces)))
    counts, step, end = [0] * len(steps), 0, lengths[0] if lengths else 0
    for piece in pieces:
        while at >= end and step < len(steps) - 1:
            step += 1
            end += lengths[step]
        counts[step] += 1
        at += len(piece)
    return counts


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        ModelLoadError: if it cannot be read.
    """
    try:
        return file_hash(path)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read ({error.strerror})", "check the path") from error


def path_features(
    logprobs: Sequence[float],
    pieces: Sequence[bytes],
    steps: Sequence[str],
    start: PathFeatures | None = None,
    drawn: Sequence[bool] | None = None,
) -> tuple[PathFeatures, list[tuple[float, ...]]]:
    """Return the sums after `steps`, and the features at the end of each; `start` are the sums before them.

    `drawn` says of each token whether a model chose it, None for all; others do not count. Steps without a token of
    their own add nothing: their features are those of an empty step.
    """
    sums, rows, at = start or PathFeatures(), list[tuple[float, ...]](), 0
    digits = digit_flags(pieces)
    for count in step_counts(pieces, steps):
        here = [place for place in range(at, at + count) if drawn is None or drawn[place]]
        sums, row = sums.step([logprobs[place] for place in here], [digits[place] for place in here])
        rows.append(row)
        at += count
    return sums, rows


def state_features(width: int) -> int:
    """Return the number of features of a judge with hidden states of a width."""
    return FEATURES + SPREADS + 2 * width


def pooled_features(
    likelihoods: Sequence[float], spreads: Sequence[Sequence[float]], pooled: Sequence[Sequence[float]]
) -> tuple[float, ...]:
    """Return the features of a step for a states head.

    `likelihoods` are its 14 features for a likelihood head, `spreads` (entropy, margin) of each of its tokens, and
    `pooled` the mean and the last of the hidden states that its tokens were predicted from. The six features between
    them are sum, highest and mean of the entropies, and sum, highest and mean of 1 - margin.
    """
    entropies = [entropy for entropy, _ in spreads]
    doubts = [1.0 - margin for _, margin in spreads]
    count = max(1, len(entropies))
    found = (math.fsum(entropies), max(entropies, default=0.0), math.fsum(entropies) / count)
    found += (math.fsum(doubts), max(doubts, default=0.0), math.fsum(doubts) / count)
    return (*likelihoods, *found, *(value for state in pooled for value in state))


def _parsed(facts: Any) -> LikelihoodHead:
    if facts["format"] != FORMAT:
        raise RewardSpecError("this is another format")
    reads: Any = facts.get("reads", "tokens")
    if facts["version"] != VERSIONS.get(reads):
        known = " and ".join(map(str, VERSIONS.values()))
        raise RewardSpecError(f"this version of ramify reads versions {known} of heads, not this one")
    shape = (FEATURES,) if reads == "tokens" else (-1,)
    head = LikelihoodHead(
        judge=_text(facts["judge"]),
        files={_text(name): _text(value) for name, value in facts["files"].items()},
        mean=_unpacked(facts["features"]["mean"], shape),
        spread=_unpacked(facts["features"]["spread"], shape),
        layers=tuple(
            (_unpacked(each["weight"], _shape(each)), _unpacked(each["bias"], _shape(each)[:1]))
            for each in facts["layers"]
        ),
        reads=reads,
        scale=_number(facts["scale"]),
        offset=_number(facts["offset"]),
        temperature=None if facts["temperature"] is None else _number(facts["temperature"]),
        report=dict(facts["report"]),
    )
    widths = [weight.shape for weight, _ in head.layers]
    chained = all(below[0] == above[1] for below, above in pairwise(widths))
    count = len(head.mean)
    if not widths or len(head.spread) != count or widths[0][1] != count or widths[-1][0] != 1 or not chained:
        raise RewardSpecError("the layers of the head do not fit together")
    if (head.spread <= 0).any() or (head.temperature is not None and head.temperature <= 0) or head.scale <= 0:
        raise RewardSpecError("the head has a spread, a scale or a temperature that is not above 0")
    return head


def _shape(facts: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = facts["shape"]
    return int(rows), int(columns)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise RewardSpecError("the head has a number where a text belongs")
    return value


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise RewardSpecError("the head has a number that is not finite")
    return number


def _packed(values: Floats) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _unpacked(text: str, shape: tuple[int, ...]) -> Floats:
    import numpy as np

    values = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)
    if not np.isfinite(values).all():
        raise RewardSpecError("the head has a number that is not finite")
    return cast("Floats", values.reshape(shape))
