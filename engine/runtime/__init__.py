"""Runtime of GGUF models on llama.cpp: a worker, continuous batching, a KV cache that follows the search tree."""
