"""Ask a server through LiteLLM, whole and streamed: start `ramify serve` and `pip install litellm`."""

import os

import litellm

QUESTION = "Tom has 45 pears. Tom buys 3 bags of 12 pears. On Friday he gives away 21 pears. How many pears has Tom?"

asked = {
    "model": f"openai/{os.environ.get('RAMIFY_MODEL', 'demo-m')}",
    "messages": [{"role": "user", "content": QUESTION}],
    "api_base": os.environ.get("RAMIFY_URL", "http://127.0.0.1:8642/v1"),
    "api_key": os.environ.get("RAMIFY_API_KEY", "unused"),
    "seed": 0,
    "extra_body": {"ramify": {"strategy": "rebase", "width": 16, "budget": {"generated_tokens": 4096, "seconds": 30}}},
}

reply = litellm.completion(**asked)
print(reply.choices[0].message.content)
print(f"{reply.usage.completion_tokens} tokens on all paths")
for chunk in litellm.completion(**asked, stream=True):
    print(chunk.choices[0].delta.content or "", end="")
print()
