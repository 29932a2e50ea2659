"""Metrics of a server in the form of Prometheus."""

from __future__ import annotations

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ramify.engine.engine import Engine
from ramify.engine.policy.llama import LlamaPolicy
from ramify.errors import RamifyError

from .admission import Admission
from .runs import ServedRun

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_WAIT_S = 1.0
"""Longest wait for the figures of a worker, which answers between two decode steps."""
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500)


class Metrics:
    """Counters of one server, from its start."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        own = self._registry = CollectorRegistry()
        self._runs = Counter("ramify_runs", "Runs that have ended", ["status"], registry=own)
        self._stops = Counter("ramify_stop_reasons", "Reasons why runs ended", ["reason"], registry=own)
        self._tokens = Counter("ramify_tokens", "Tokens of ended runs by kind", ["kind"], registry=own)
        self._energy = Counter(
            "ramify_energy_joules", "Energy of ended runs, as far as it is known", ["source"], registry=own
        )
        self._cost = Counter(
            "ramify_cost", "Cost of ended runs by the prices of the server", ["currency"], registry=own
        )
        self._requests = Counter("ramify_requests", "Requests that were answered", ["path", "status"], registry=own)
        self._first = Histogram(
            "ramify_time_to_first_token_seconds", "From a run's start", buckets=_SECONDS, registry=own
        )
        self._answer = Histogram(
            "ramify_time_to_answer_seconds", "From a request to its end, queueing included", buckets=_SECONDS,
            registry=own,
        )  # fmt: skip
        self._queue = Histogram("ramify_queue_seconds", "Time in the queue", buckets=_SECONDS, registry=own)
        self._cells = Gauge("ramify_kv_cells", "KV cells of the policy that are in use", registry=own)
        self._restarts = Gauge("ramify_worker_restarts", "Workers that were started after a crash", registry=own)
        running = Gauge("ramify_running", "Requests that run", registry=own)
        running.set_function(lambda: admission.running)
        queued = Gauge("ramify_queued", "Requests that wait for their turn", registry=own)
        queued.set_function(lambda: admission.queued)

    def ended(self, served: ServedRun) -> None:
        """Count a run that has ended."""
        self._runs.labels(str(served.status)).inc()
        self._queue.observe(served.queued_s)
        solution = served.solution
        if solution is None:
            return
        self._stops.labels(str(solution.stop_reason)).inc()
        usage = solution.usage
        counts = {
            "generated": usage.policy.generated_tokens,
            "shared": usage.policy.shared_tokens,
            "prompt": usage.policy.prompt_tokens,
            "cached": usage.policy.cached_tokens,
            "reevaluated": usage.policy.reevaluated_tokens,
            "reward": usage.reward.evaluated_tokens,
        }
        for kind, count in counts.items():
            self._tokens.labels(kind).inc(count)
        if usage.energy_j is not None:
            self._energy.labels(usage.energy_source or "").inc(usage.energy_j)
        if usage.cost is not None:
            self._cost.labels(usage.currency or "").inc(usage.cost)
        if usage.time_to_first_token_s is not None:
            self._first.observe(usage.time_to_first_token_s)
        self._answer.observe(usage.seconds + served.queued_s)

    def answered(self, path: str, status: int) -> None:
        """Count a request; `path` is that of the route."""
        self._requests.labels(path, str(status)).inc()

    async def text(self) -> bytes:
        """Return all metrics; those of a worker that does not answer in time are the last known."""
        policy = self._engine.policy
        if isinstance(policy, LlamaPolicy):
            self._restarts.set(policy.model.restarts)
            with anyio.move_on_after(_WAIT_S):
                try:
                    self._cells.set((await policy.model.statistics_of_all()).cells_used)
                except RamifyError:
                    # The worker is being replaced; the runs that need it are told.
                    self._cells.set(0)
        return generate_latest(self._registry)
