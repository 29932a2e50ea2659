"""Recipe of the bundled models, from scratch: `python -m ramify.models.recipe all`.

The only part of ramify that imports torch and tokenizers.
"""
