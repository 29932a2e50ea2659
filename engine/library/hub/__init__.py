"""Models of the Hugging Face hub: references, client, downloads, and records of pulled models."""
