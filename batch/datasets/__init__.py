"""Data sets for training, made of run folders and saved runs."""
