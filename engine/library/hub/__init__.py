"""Models from the Hugging Face hub: what a reference names, fetching it whole, and finding it again later."""
