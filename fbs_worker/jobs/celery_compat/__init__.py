"""Adapters for the private parts of Celery and kombu.

Each module declares `UPSTREAM`: every private or undocumented symbol that it relies on, and why. The contract tests
(`tests/unit/test_upstream_contract.py`) resolve each symbol in the installed version and check its behaviour, so an
upgrade that removes one fails with that symbol's name. `TRIED` is the range of versions against which they have run; it
equals the bounds in pyproject.toml. No other module of the product uses these symbols.

    redis_channel      messages in kombu's Redis transport: unacknowledged ones, the next one of a queue, closing
    outbox             messages that Celery builds and a channel records instead of sending
    process            the start banner, exit codes, Celery's commands

What extends a class of Celery inside a worker is an adapter as well: `logging`, `request` and `steps` of
`fbs_worker.jobs.worker`.
"""
