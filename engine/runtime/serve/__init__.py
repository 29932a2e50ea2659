"""Both ends of the worker's pipe: the client in the engine and the worker process with its models."""
