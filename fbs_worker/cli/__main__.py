"""Entry point of `python -m fbs_worker.cli`."""

from fbs_worker.cli import main

if __name__ == "__main__":
    main()
