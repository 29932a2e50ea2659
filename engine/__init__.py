"""The engine: runs that bring policy, reward, strategy and budget together over a llama.cpp runtime."""
