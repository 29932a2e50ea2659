"""The public face of ramify."""
