"""Several engines or settings for one problem: cascades, pooled votes, fallbacks and portfolios."""
