"""The catalogue of discoveries: `fbs_discoveries` and its derived tables."""
