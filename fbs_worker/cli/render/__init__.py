"""Rendering of results as tables and sentences. Pure; `fbs_worker.cli.output` prints them."""
