"""Ask a server with the official OpenAI client, whole and streamed: start `ramify serve` and `pip install openai`."""

import os

import openai

QUESTION = "Tom has 45 pears. Tom buys 3 bags of 12 pears. On Friday he gives away 21 pears. How many pears has Tom?"
MODEL = os.environ.get("RAMIFY_MODEL", "demo-m")

client = openai.OpenAI(
    base_url=os.environ.get("RAMIFY_URL", "http://127.0.0.1:8642/v1"),
    api_key=os.environ.get("RAMIFY_API_KEY", "unused"),
)
search = {"strategy": "rebase", "width": 16, "budget": {"generated_tokens": 4096, "seconds": 30}}

reply = client.chat.completions.create(
    model=MODEL, messages=[{"role": "user", "content": QUESTION}], seed=0, extra_body={"ramify": search}
)
print(reply.choices[0].message.content)
found = reply.model_extra["ramify"]
print(f"answer {found['answer']}, posterior {found['posterior']:.2f}, votes {found['votes']}")

stream = client.chat.completions.create(
    model=MODEL, messages=[{"role": "user", "content": QUESTION}], stream=True, extra_body={"ramify": search}
)
for chunk in stream:
    for choice in chunk.choices:
        # What the search thinks so far comes apart from the answer.
        thought = (choice.delta.model_extra or {}).get("reasoning_content")
        print(thought or choice.delta.content or "", end="")
print()
