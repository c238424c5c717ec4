"""Make a solution's tables match their definition: plan, show, apply, keep what is deleted, undo."""
