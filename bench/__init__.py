"""Measured comparisons; `make bench` runs them all, `bench/README.md` has figures and method."""
