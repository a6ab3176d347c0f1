"""Other people's test suites, run in the full Debian: fio, iperf3, stress-ng, git, python3's own (docs/suites.md)."""
