"""Training and measurement of rewards: step labels, heads, quality, and profiles of strategies."""
