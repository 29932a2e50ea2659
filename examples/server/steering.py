"""Watch a run of a server and stop it when its leading answer is likely enough: start `ramify serve` first."""

import json
import os

import anyio
import httpx2

QUESTION = "Tom has 45 pears. Tom buys 3 bags of 12 pears. On Friday he gives away 21 pears. How many pears has Tom?"
URL = os.environ.get("RAMIFY_URL", "http://127.0.0.1:8642/v1")
LIKELY = 0.95


async def main() -> None:
    body = {
        "model": os.environ.get("RAMIFY_MODEL", "demo-m"),
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": True,
        "ramify": {"width": 64},
    }
    async with httpx2.AsyncClient(timeout=None) as http:
        async with http.stream("POST", f"{URL}/chat/completions", json=body) as reply:
            run = f"{URL}/ramify/runs/{reply.headers['x-ramify-run']}"
            async for line in reply.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
                print(delta.get("reasoning_content") or delta.get("content") or "", end="")
                state = (await http.get(run)).json()
                if state["status"] == "running" and (state["posterior"] or 0) >= LIKELY:
                    await http.post(f"{run}/stop", json={})
    print()


if __name__ == "__main__":
    anyio.run(main)
