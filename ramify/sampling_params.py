"""Sampling parameters, given and resolved, step formats and node seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b

from .settings import INTEGER, NUMBER, setting, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSampling:
    """Parameters with which tokens are drawn, all of them known.

    `temperature` 0 is greedy (ties to the lowest id). `top_k` 0, `top_p` 1.0 and `min_p` 0.0 switch the filter off.
    Filters apply in the order top-k, top-p, min-p to the distribution at temperature 1, then the temperature.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __str__(self) -> str:
        filters = [("top-k", self.top_k, 0), ("top-p", self.top_p, 1.0), ("min-p", self.min_p, 0.0)]
        used = [f"{name} {value:g}" for name, value, off in filters if value != off]
        return ", ".join([f"temperature {self.temperature:g}", *used])


UNFILTERED = TokenSampling()
"""Sampling from the model's own distribution."""
USUAL_SAMPLING = TokenSampling(temperature=0.7, top_p=0.95)
"""Sampling of models whose files recommend none: at temperature 1 small ones write gibberish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Parameters of the sampling of tokens, as a user gives them; None means what suits the model.

    A model file may recommend its own (`general.sampling.*`); models that were trained for ramify have temperature 1
    and no filter, all others temperature 0.7 and top-p 0.95. `temperature` 0 is greedy. `top_k` 0, `top_p` 1.0 and
    `min_p` 0.0 switch the filter off. Numbers out of range are refused when a run is started.
    """

    temperature: float | None = setting(
        None,
        NUMBER,
        low=0,
        group="sampling",
        letter="t",
        help="Of sampling; 0 greedy.",
        unset="as suits the model",
        explanation="temperature of sampling; 0 always takes the likeliest token. By default what the model file "
        "recommends, else 0.7, and 1 for models that were trained for ramify",
        identity="always",
    )
    top_k: int | None = setting(
        None,
        INTEGER,
        low=0,
        group="sampling",
        help="Sample from the K likeliest; 0 off.",
        unset="as suits the model",
        explanation="take only from the K likeliest tokens, 0 for off; by default what the model file recommends, "
        "else off",
        identity="always",
    )
    top_p: float | None = setting(
        None,
        NUMBER,
        low=0,
        high=1,
        low_excluded=True,
        group="sampling",
        help="Nucleus sampling; 1 off.",
        unset="as suits the model",
        explanation="take only from the likeliest tokens that make up the share P, 1 for off; by default what the "
        "model file recommends, else 0.95, and off for models that were trained for ramify",
        identity="always",
    )
    min_p: float | None = setting(
        None,
        NUMBER,
        low=0,
        high=1,
        group="sampling",
        help="Least share of the likeliest token; 0 off.",
        unset="as suits the model",
        explanation="take only from tokens of at least the share P of the likeliest, 0 for off; by default what the "
        "model file recommends, else off",
        identity="always",
    )

    def resolved(self, default: TokenSampling = UNFILTERED) -> TokenSampling:
        """Return these parameters, those of `default` where they are None."""
        return TokenSampling(
            temperature=default.temperature if self.temperature is None else self.temperature,
            top_k=default.top_k if self.top_k is None else self.top_k,
            top_p=default.top_p if self.top_p is None else self.top_p,
            min_p=default.min_p if self.min_p is None else self.min_p,
        )

    @classmethod
    def of(cls, sampling: TokenSampling) -> SamplingParams:
        """Return resolved parameters as given ones."""
        return cls(**asdict(sampling))


@lru_cache(maxsize=256)
def check_sampling(params: TokenSampling) -> None:
    """Check sampling parameters.

    Raises:
        UsageError: if a number is out of range.
    """
    verify(SamplingParams.of(params))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFormat:
    """Ends of steps and paths in a text.

    A step ends with the first token after which `pattern` is found in its text, leading space aside. With
    `whole_blocks` a match in a code fence or in display math does not count, nor one after a heading alone. A path ends
    where `stop` is found, a pattern whose `^` and `$` are those of lines, "" for none: what matched, or its group
    "stop" if it has one, and all that follows is not part of the text. `custom` tells that a person wrote `pattern`: it
    is searched under a time limit.
    """

    name: str
    pattern: str
    whole_blocks: bool = False
    stop: str = ""
    custom: bool = False


def node_seed(run_seed: int, path: tuple[int, ...]) -> int:
    """Return the 64-bit seed of the node at `path` (child numbers from the root) in a run seeded with `run_seed`.

    It depends on the place of a step in the tree alone, not on the time of its decoding or on the rest of the batch.
    """
    key = f"{run_seed}:{'.'.join(map(str, path))}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
