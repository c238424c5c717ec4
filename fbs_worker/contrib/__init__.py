"""What makes fbs-worker a part of other frameworks; each needs the extra of its name."""
