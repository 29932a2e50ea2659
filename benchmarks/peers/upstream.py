"""Hands a peer's requests on to another OpenAI-compatible server, and counts what that one says it used."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from meter import Count

MARK = "@llama-server"
"""Part of the name of a client whose texts come from there."""
LIMIT_S = 120.0


def forwarded(address: str, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], Count]:
    """Return the server's answer and what it used: evaluated input is what did not come from its cache.

    Raises:
        ValueError: if it refuses the request.
    """
    request = urllib.request.Request(
        f"{address}/v1{path}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as reply:
            answer: dict[str, Any] = json.load(reply)
    except urllib.error.HTTPError as error:
        raise ValueError(error.read().decode("utf-8", "replace")[:300]) from None
    usage = answer.get("usage") or {}
    sent = int(usage.get("prompt_tokens") or 0)
    cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    texts = len(answer.get("choices") or ())
    return answer, Count(
        requests=1,
        texts=texts,
        sent_tokens=sent,
        prompt_tokens=max(0, sent - cached),
        generated_tokens=int(usage.get("completion_tokens") or 0),
    )
