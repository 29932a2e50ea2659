"""Policy models: the protocol, local GGUF models, remote endpoints and prompts."""
