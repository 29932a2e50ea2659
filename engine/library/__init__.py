"""Model files: catalog, download, conversion, quantization and removal."""
