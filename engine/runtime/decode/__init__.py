"""One decode step: scheduling of sequences, the prefix cache, sampling and reads."""
