"""The catalogue of discoveries: `fbs_discoveries` and the tables that are derived from it."""
