"""`python -m fbs_worker.cli` is `fbs`."""

from fbs_worker.cli import main

if __name__ == "__main__":
    main()
