"""Strategy profiles measured on problems, and the choice of a strategy from them."""
