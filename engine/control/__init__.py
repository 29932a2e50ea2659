"""Control of one run without I/O: decisions, requests, metering, seeds and the solution's summary."""
