"""From Hugging Face checkpoints, and heads trained on GGUF files, to GGUF files that ramify reads as reward models."""
