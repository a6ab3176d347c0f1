"""Pure Python: no machine, no browser."""
