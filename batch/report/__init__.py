"""Reports of finished runs: tables, comparisons, charts and pages."""
