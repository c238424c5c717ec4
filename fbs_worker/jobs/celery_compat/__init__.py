"""Adapters for the private parts of Celery and kombu.

Each module declares `UPSTREAM`: every private or undocumented symbol that it relies on, and why. The contract tests
(`tests/unit/test_upstream_contract.py`) resolve each symbol in the installed version and check its behaviour, so an
upgrade that removes one fails with that symbol's name. `TRIED` is the range of versions against which they have run; it
equals the bounds in pyproject.toml. No other module of the product uses these symbols.

    redis_channel      messages in kombu's Redis transport: unacknowledged ones, the next one of a queue, closing
    message_capture    messages that Celery builds and a channel records instead of sending
    request            hooks of a worker's request object
    consumer           the worker's consumer: steps, own queue, figures
    process            set-up of logging, output of signal handlers, the start banner, exit codes, Celery's commands
    results            the result backend
"""
