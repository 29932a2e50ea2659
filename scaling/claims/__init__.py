"""Claims on scaling: one module for each, with a function that returns its verdict on the measured cells."""
