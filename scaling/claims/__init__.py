"""One module for each claim; each looks at the measured cells and returns a verdict."""
