"""Permissions to write steps, and the share of a budget that open ones hold."""

from __future__ import annotations

from dataclasses import dataclass

from ramify.search.stopping import StopReason


@dataclass(eq=False, slots=True)
class Grant:
    """Permission to write `children` steps which together may generate `tokens` tokens.

    `tokens` is one allowance that all steps draw on, so that short steps leave more to long ones. 0 children: nothing
    can be afforded now. `limit` is the limit that left fewer tokens than the steps may need, None if none did;
    `refused_by` is the one that allowed fewer steps than were asked for, None if all were allowed.

    `inputs` are the tokens that the policy is expected to read for each of the steps, empty for none.

    `children` and `tokens` count down as steps are settled; `written` and `written_tokens` are those of the remaining
    steps that are in the usage already, and `input_tokens` are those to be read for the others.
    """

    children: int
    tokens: int
    max_step_tokens: int
    limit: StopReason | None
    inputs: tuple[int, ...] = ()
    input_tokens: int = 0
    refused_by: StopReason | None = None
    written: int = 0
    written_tokens: int = 0


@dataclass(slots=True)
class StepInFlight:
    """A step in flight; `generated_tokens` is set once it is written."""

    grant: Grant
    input_tokens: int
    generated_tokens: int = 0


@dataclass(slots=True)
class Held:
    """Sum of the open grants, in whole units: steps and tokens to be written, steps and tokens to be scored."""

    nodes: int = 0
    tokens: int = 0
    input_tokens: int = 0
    scored_nodes: int = 0
    scored_tokens: int = 0

    def add(self, grant: Grant, sign: int) -> None:
        """Hold the rest of a grant, or give it back with `sign` -1."""
        bound = min(grant.tokens, grant.children * grant.max_step_tokens)
        self.nodes += sign * (grant.children - grant.written)
        self.tokens += sign * max(0, bound - grant.written_tokens)
        self.input_tokens += sign * grant.input_tokens
        self.scored_nodes += sign * grant.children
        self.scored_tokens += sign * bound
