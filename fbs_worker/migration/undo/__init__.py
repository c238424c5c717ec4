"""Plan the way back from a recorded migration."""
