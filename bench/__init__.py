"""What is measured, against whom.  `hartwell bench [NAMES]`; docs/benchmarks.md has the method."""
