"""Reports on run folders: totals, analysis, comparison, tables, figures and pages."""
