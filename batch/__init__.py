"""Many problems in one resumable run: run directory, grading, reports and executors."""
