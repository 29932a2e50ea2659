"""Ask a server through LangChain, whole and streamed: start `ramify serve` and `pip install langchain-openai`."""

import os

from langchain_openai import ChatOpenAI

QUESTION = "Tom has 45 pears. Tom buys 3 bags of 12 pears. On Friday he gives away 21 pears. How many pears has Tom?"

model = ChatOpenAI(
    model=os.environ.get("RAMIFY_MODEL", "demo-m"),
    base_url=os.environ.get("RAMIFY_URL", "http://127.0.0.1:8642/v1"),
    api_key=os.environ.get("RAMIFY_API_KEY", "unused"),
    seed=0,
    # Each call is a search; what LangChain does not know goes here.
    extra_body={"ramify": {"strategy": "rebase", "width": 16, "budget": {"generated_tokens": 4096, "seconds": 30}}},
)

reply = model.invoke(QUESTION)
print(reply.text)
print(f"{reply.usage_metadata['output_tokens']} tokens on all paths")
for chunk in model.stream(QUESTION):
    print(chunk.text, end="")
print()
