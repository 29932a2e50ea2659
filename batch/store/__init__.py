"""The run folder: configuration, inputs, identity of items, journal and rows."""
