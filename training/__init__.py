"""Training and measuring of rewards: labels, heads, evaluation and calibration; drives an Engine."""
