"""Control of one run without I/O: decisions, requests, usage and limits, scores, votes and steering."""
