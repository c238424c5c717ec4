"""What runs inside a worker: the task base class, heartbeat, reaper and logging."""
