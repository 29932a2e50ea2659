"""Runs GGUF models with llama.cpp: a worker, continuous batching, and a KV cache that follows the search tree."""
