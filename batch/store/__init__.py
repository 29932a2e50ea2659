"""Run folder of a batch: its configuration, input files, identities, rows and files."""
