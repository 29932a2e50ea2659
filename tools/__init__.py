"""Tools that models call: their declaration, the forms of calls in texts, limits, and those that come with ramify."""
