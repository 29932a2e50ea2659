"""Token tree that takes steps and readings from a store where it has them, and adds those that it has not."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from anyio import lowlevel

from ramify.errors import EngineClosed
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import StepFormat
from ramify.search.node import FinishReason

from ..messages import ROOT, Adopt, OpenRun, Release, StepRequest, StepResult, common_prefix
from .stored_results import StoredReading, StoredResults
from .token_tree import TokenTree

if TYPE_CHECKING:
    from .loaded_model import LoadedModel

PUT_IN_TOKENS = 64
"""Most tokens that a calculator or the mark of an answer puts into a path at a time."""

OnResult = Callable[[StepResult], None]
OnProgress = Callable[[int, int, str], None]


@dataclass(slots=True)
class TokenCharges:
    """Tokens that a run has to report as read, each once, whether they were evaluated or not.

    `due` has those that no result has carried yet by node: the prompt, and texts that the model was told. `expected`
    were charged to requests that the worker has; tokens that it reads beyond these were charged to results from the
    store, and are prefill.
    """

    due: dict[int, int]
    expected: int = 0

    def take(self, nodes: Iterable[int]) -> int:
        """Charge the tokens due along a path; return their number."""
        return sum(self.due.pop(node, 0) for node in nodes)

    def split(self, read_tokens: int, reused_tokens: int = 0) -> tuple[int, int]:
        """Return which of the tokens that the worker read are those expected, and how many are left over."""
        own = min(read_tokens, self.expected)
        self.expected = max(0, self.expected - own - reused_tokens)
        return own, read_tokens - own


class StoredTree(TokenTree):
    """Nodes of one run, of which those in `results` are not written again. Made by `LoadedModel.open_run`.

    A node from the store is unknown to the worker until something has to be written below it; then the worker evaluates
    its path like a prompt. The usage is that of a run without a store; `stored_tokens` and `prefilled_tokens` tell the
    difference to the tokens really evaluated.
    """

    def __init__(self, model: LoadedModel, opened: OpenRun, results: StoredResults) -> None:
        super().__init__(model, opened)
        self._results = results
        self._digests = {ROOT: blake2b(len(opened.prompt).to_bytes(8, "little") + _bytes(opened.prompt))}
        self._charges = TokenCharges({ROOT: len(opened.prompt)})
        # Nodes of texts told to the model, the first one for the same tokens below the same path: the worker reads
        # them once.
        self._told = dict[tuple[bytes, tuple[int, ...]], int]()
        self._told_as = dict[int, int]()
        # Nodes that the worker does not know, and those of them that have been released.
        self._untold = set[int]()
        self._released = set[int]()
        self._interrupts = 0
        # Paths that were read, by node, and whether some readings came from the store.
        self._paths = dict[int, tuple[int, ...]]()
        self._reads_stored = False
        # Prompt tokens, and tokens in vain, that a trial has cost and no result has carried yet.
        self._carried = (0, 0)

    # Steps

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: OnResult,
        on_progress: OnProgress | None = None,
        step: StepFormat | None = None,
    ) -> None:
        """Generate children as `TokenTree.expand` does, or take them from the store.

        Steps that share an allowance compete for it token by token, which those from the store do not. So where it
        may not last, the others are written first as a trial; if it was used up, all steps are written after all.
        """
        self._check_steps(requests, allowance)
        if self._closed:
            raise EngineClosed("the run is closed", "open a new one")
        await lowlevel.checkpoint()
        interrupts = self._interrupts
        keys = self._results.step_keys(requests, {each.parent: self._digest(each.parent) for each in requests}, step)
        found = self._results.steps(keys, logprobs=any(each.tell_logprobs for each in requests))
        missing = [each for each in requests if each.child not in found]
        left = allowance
        if allowance is not None and self.counts_reused:
            left = allowance - sum(each.generated_tokens for each in found.values())
        written = list[StepResult]()
        most = sum(each.max_tokens for each in missing)
        if left is not None and found and self.counts_reused and (left < 0 or left < most):
            trial = None if left < 0 else await self._try(missing, keys, left, on_progress, step)
            if trial is None:
                found, missing, left = {}, list(requests), allowance
            else:
                written, missing = trial, []
        await self._deliver([*found.values(), *written], requests, found.keys(), interrupts, on_result)
        if missing:
            await self._write(missing, keys, left, on_result, on_progress, step)

    async def _deliver(
        self,
        results: Sequence[StepResult],
        requests: Sequence[StepRequest],
        stored: Collection[int],
        interrupts: int,
        take: OnResult,
    ) -> None:
        """Hand results out in the order in which they would have been written, so that the run can stop in between."""
        asked, length = {each.child: each for each in requests}, 0
        for result in sorted(results, key=lambda each: each.generated_tokens):
            if result.generated_tokens > length:
                length = result.generated_tokens
                await lowlevel.checkpoint()
            request = asked[result.child]
            if result.child in stored:
                result = self._from_store(request, result, cut=interrupts != self._interrupts)
            take(result if request.tell_logprobs else replace(result, token_logprobs=()))

    def _from_store(self, request: StepRequest, result: StepResult, *, cut: bool) -> StepResult:
        """Add a node from the store to the tree, and return its result, charged with the tokens due along the path.

        A step that was `cut` before anybody saw it has no tokens.
        """
        read = 0
        if cut:
            result = StepResult(
                child=result.child,
                text="",
                tokens=(),
                generated_tokens=0,
                logprob=0.0,
                finish_reason=FinishReason.CANCELLED,
            )
        else:
            read = self._charge(request.parent)
        self._nodes[result.child] = (request.parent, result.tokens)
        self._untold.add(result.child)
        stored = read + result.generated_tokens
        return replace(result, prompt_tokens=read, stored_tokens=stored, first_token_at=time.monotonic())

    async def _write(
        self,
        requests: Sequence[StepRequest],
        keys: Mapping[int, bytes],
        allowance: int | None,
        on_result: OnResult,
        on_progress: OnProgress | None,
        step: StepFormat | None,
    ) -> None:
        """Have the worker write steps, and add them to the store."""
        for each in requests:
            self._tell(each.parent)
            self._charges.expected += self._charge(each.parent)
        asked = {each.child: each for each in requests}
        put_in = any(each.calculator or each.answer is not None for each in requests)
        spent, waiting = 0, list[tuple[bytes, StepResult]]()

        def take(result: StepResult) -> None:
            nonlocal spent
            spent += result.generated_tokens
            waiting.append((keys[result.child], result))
            if allowance is None or not put_in:
                self._results.keep_step(*waiting.pop())
            result = self._charged(result)
            on_result(result if asked[result.child].tell_logprobs else replace(result, token_logprobs=()))

        sent = [replace(each, tell_logprobs=True) for each in requests]
        await super().expand(sent, allowance=allowance, on_result=take, on_progress=on_progress, step=step)
        # Texts to be put in are left out where the allowance has no room for them.
        if allowance is None or allowance - spent >= PUT_IN_TOKENS * len(requests):
            for key, result in waiting:
                self._results.keep_step(key, result)

    def _charged(self, result: StepResult) -> StepResult:
        """Return a result of the worker in which tokens that were charged before are prefill."""
        read, more = self._charges.split(result.prompt_tokens, result.reused_tokens)
        carried, self._carried = self._carried, (0, 0)
        return replace(
            result,
            prompt_tokens=read + carried[0],
            prefilled_tokens=result.prefilled_tokens + more + carried[1],
        )

    async def _try(
        self,
        requests: Sequence[StepRequest],
        keys: Mapping[int, bytes],
        allowance: int,
        on_progress: OnProgress | None,
        step: StepFormat | None,
    ) -> list[StepResult] | None:
        """Write steps as nodes beside those of the search; None if the allowance was used up."""
        trials = {self.new_id(): each for each in requests}
        written = list[StepResult]()

        def report(node: int, tokens: int, text: str) -> None:
            if on_progress is not None:
                on_progress(trials[node].child, tokens, text)

        await self._write(
            [replace(each, child=node, tell_logprobs=True) for node, each in trials.items()],
            {node: keys[each.child] for node, each in trials.items()},
            allowance,
            written.append,
            None if on_progress is None else report,
            step,
        )
        used_up = any(each.finish_reason is FinishReason.BUDGET for each in written)
        if used_up:
            wasted = sum(each.generated_tokens + each.prefilled_tokens for each in written)
            self._carried = (sum(each.prompt_tokens for each in written), wasted)
        for each in () if used_up else written:
            request = trials[each.child]
            self.adopt(request.child, request.parent, each.tokens, generated=True)
        self.release(trials)
        return None if used_up else [replace(each, child=trials[each.child].child) for each in written]

    def _charge(self, node: int) -> int:
        """Charge the tokens due along the path to a node; return their number."""
        return self._charges.take(self._told_as.get(each, each) for each in self._lineage(node))

    # Readings

    async def read(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Return outputs along paths as `TokenTree.read` does, those that the store has from there."""
        self._check_reads(requests)
        if self._closed:
            raise EngineClosed("the run is closed", "open a new one")
        keys = self._results.reading_keys(requests)
        stored = self._results.readings(keys)
        missing = [each for each in requests if each.node not in stored]
        for each in missing:
            for node in (each.parent, each.node):
                if node is not None:
                    self._tell(node)
            self._charges.expected += self._charges.take([ROOT])
        found = {each.node: each for each in await super().read(missing)} if missing else {}
        results = list[ReadResult]()
        for each in requests:
            known = stored.get(each.node)
            if known is None:
                results.append(self._read(each, found[each.node], keys[each.node]))
            else:
                results.append(self._reading_from_store(each, known))
        self._paths.update({each.node: each.tokens for each in requests})
        return results

    def _read(self, request: ReadRequest, result: ReadResult, key: bytes) -> ReadResult:
        """Add a reading to the store; the part of its cost that a reading of the path above was charged is prefill."""
        prompt, rest = self._charges.split(result.evaluated_tokens)
        prefilled = max(0, rest - self._own_tokens(request)) if self._reads_stored else 0
        self._results.keep_reading(key, result, rest - prefilled)
        return replace(result, evaluated_tokens=prompt + rest - prefilled, prefilled_tokens=prefilled)

    def _own_tokens(self, request: ReadRequest) -> int:
        """Return how many tokens of a path no other reading has been charged with."""
        above = None if request.parent is None else self._paths.get(request.parent)
        # Of a path whose parent has been released, the longest beginning that was read at some time.
        read = [each for node, each in self._paths.items() if node != request.node] if above is None else [above]
        return len(request.tokens) - max(common_prefix(each, request.tokens) for each in (self.prompt, *read))

    def _reading_from_store(self, request: ReadRequest, known: StoredReading) -> ReadResult:
        self._reads_stored = True
        total = self._charges.take([ROOT]) + known.evaluated_tokens
        return ReadResult(
            node=request.node,
            logits=known.rows,
            evaluated_tokens=total,
            cached_tokens=max(0, len(request.tokens) - known.evaluated_tokens),
            stored_tokens=total,
        )

    # Nodes

    def adopt(self, node: int, parent: int, tokens: Sequence[int], *, generated: bool) -> None:
        """Add a node as `TokenTree.adopt` does."""
        self._check_new(parent, node)
        self._tell(parent)
        super().adopt(node, parent, tokens, generated=generated)
        if generated:
            return
        first = self._told.setdefault((self._digest(parent), tuple(tokens)), node)
        if first == node:
            self._charges.due[node] = len(tokens)
        else:
            self._told_as[node] = first

    def interrupt(self) -> None:
        """End all children; those from the store that no one has seen yet end without tokens."""
        self._interrupts += 1
        super().interrupt()

    def release(self, nodes: Iterable[int]) -> None:
        """Free the state kept for nodes that will not be expanded again."""
        nodes = list(nodes)
        self._released.update(node for node in nodes if node in self._untold)
        super().release(node for node in nodes if node not in self._untold)

    def _tell(self, node: int) -> None:
        """Let the worker know a node from the store, and those above it."""
        above = [each for each in self._lineage(node) if each in self._untold]
        for each in reversed(above):
            parent, tokens = self._nodes[each]
            self._model.send(Adopt(self._model.number, self._run, each, parent, tokens, generated=True, stored=True))
            self._untold.discard(each)
        released = tuple(each for each in above if each in self._released)
        if released:
            self._released.difference_update(released)
            self._model.tell(Release(self._model.number, self._run, released))

    def _is_told(self, node: int) -> bool:
        return node not in self._untold

    def _lineage(self, node: int) -> list[int]:
        """Return a node and all above it, the prompt's last."""
        found = [node]
        while node in self._nodes:
            node = self._nodes[node][0]
            found.append(node)
        return found

    def _digest(self, node: int) -> bytes:
        """Return the digest of the path to a node, the prompt apart from the rest."""
        for each in reversed(self._lineage(node)):
            if each not in self._digests:
                parent, tokens = self._nodes[each]
                made = self._digests[parent].copy()
                made.update(_bytes(tokens))
                self._digests[each] = made
        return self._digests[node].digest()


def _bytes(tokens: Sequence[int]) -> bytes:
    return array("i", tokens).tobytes()
