"""Soak test: rounds of random jobs with random faults; every job must end correctly and release what it holds.

    python -m bench.soak --rounds 200 --seed 1

A small fleet of its own (two workers, PostgreSQL, Redis, a small Odoo) keeps several solutions in one database. After
each round every job must have ended as it should, and nothing may be held any more: no lock, no session, no message, no
claim; records that were copied must be those of Odoo. In the end the databases must hold what an undisturbed run of the
same jobs leaves, and no process may be left.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from bench.soak_fleet import Fleet, Shadow, Violation
from bench.soak_work import Plan, Work
from fbs_worker.client.client import JobHandle
from fbs_worker.jobs.model import JobRecord, JobState
from tests.support.preloaded import end_launcher
from tests.support.servers import describe, short_folder

PATIENCE: Final = 120.0
SUMMARY_EVERY: Final = 20
TWO_AT_ONCE: Final = 0.2
"""How often a second thing goes wrong in a round."""


@dataclass(slots=True, kw_only=True)
class Figures:
    """Figures of some rounds.

    Attributes:
        durations: seconds from the first job until every job has ended and nothing is held, of each round.
    """

    jobs: int = 0
    cancelled: int = 0
    attempts: int = 0
    durations: list[float] = field(default_factory=list)

    def add(self, records: list[JobRecord], seconds: float) -> None:
        """Count a round."""
        self.jobs += len(records)
        self.cancelled += sum(record.state is JobState.CANCELLED for record in records)
        self.attempts += sum(record.attempts for record in records)
        self.durations.append(seconds)

    def __str__(self) -> str:
        return (
            f"{len(self.durations):6} {self.jobs:5} {self.cancelled:9} {self.attempts:8}"
            f" {statistics.median(self.durations):8.1f} {max(self.durations):6.1f}"
        )


HEADER: Final = f"{'rounds':>6} {'jobs':>5} {'cancelled':>9} {'attempts':>8} {'median s':>8} {'most s':>6}"


class Soak:
    """The rounds.

    Args:
        fleet: runs the jobs with faults.
        shadow: runs the same jobs without faults.
        chance: the source of randomness.
    """

    def __init__(self, fleet: Fleet, shadow: Shadow, chance: random.Random) -> None:
        self._fleet = fleet
        self._shadow = shadow
        self._chance = chance
        self._plan = Plan(chance)
        self._again: list[tuple[Work, JobHandle]] = []
        self.figures: defaultdict[str, Figures] = defaultdict(Figures)
        self.recent = Figures()

    def round(self) -> None:
        """One round.

        Raises:
            Violation: an invariant does not hold.
        """
        for work in self._plan.tampering():
            self._fleet.tamper(work)
            self._shadow.do(work)
        began = time.monotonic()
        works = self._plan.jobs()
        if any(work.action == "sync" for work in works):
            self._fleet.change_records()
        jobs = [self._fleet.enqueue(work) for work in works]
        names = self._strike(works, jobs)
        self._fleet.restore_workers()
        what = f"{' and '.join(names)} during {', '.join(map(str, works))}"
        may = {JobState.SUCCEEDED, *([JobState.CANCELLED] if "cancel" in names else [])}
        records = [self._ended(job, work, what, may=may) for work, job in zip(works, jobs, strict=True)]
        while self._again:
            work, job = self._again.pop()
            self._ended(job, work, what, may=may)
        self._wait(lambda: not self._fleet.held(), lambda: f"after {what}: {self._fleet.held()}")
        for work, record in zip(works, records, strict=True):
            if record.state is JobState.SUCCEEDED and work.action == "sync":
                self._fleet.check_records(what)
            elif record.state is JobState.SUCCEEDED:
                self._plan.done(work)
                self._shadow.do(work)
        seconds = time.monotonic() - began
        for figures in (self.recent, *(self.figures[name] for name in {*names, "all"})):
            figures.add(records, seconds)

    def compare(self) -> None:
        """Check that the databases hold what a run of the same jobs without faults leaves.

        Raises:
            Violation: they do not.
        """
        expected, found = self._shadow.contents(), self._fleet.contents()
        if found != expected:
            lines = difflib.unified_diff(
                expected.splitlines(), found.splitlines(), "undisturbed", "found", lineterm="", n=8
            )
            raise Violation("The databases hold something else:\n" + "\n".join(list(lines)[:80]))

    def _strike(self, works: list[Work], jobs: list[JobHandle]) -> list[str]:
        """Inject one or two random faults at random times.

        Returns:
            The names of the faults.
        """
        faults = self._fleet.faults
        names = [self._chance.choice((*faults, "enqueue twice"))]
        if self._chance.random() < TWO_AT_ONCE and names != ["cancel"]:
            names.append(self._chance.choice([name for name in faults if name not in {"cancel", *names}]))
        for name in names:
            time.sleep(self._chance.uniform(0.0, 0.6))
            if name == "enqueue twice":
                self._enqueue_twice(works, jobs)
            else:
                faults[name](jobs)
        return names

    def _enqueue_twice(self, works: list[Work], jobs: list[JobHandle]) -> None:
        for work, job in zip(works, jobs, strict=True):
            if work.action == "drop":  # may be done by now: then there is nothing left to drop
                continue
            again = self._fleet.enqueue(work)
            if again.id != job.id and not job.status().state.finished:
                raise Violation(f"The same job had two ids: {work}.")
            self._again.append((work, again))

    def _ended(self, job: JobHandle, work: Work, what: str, *, may: set[JobState]) -> JobRecord:
        self._wait(lambda: job.status().state.finished, lambda: f"{work} has not ended ({what}): {job.status()}")
        record = job.status()
        if record.state not in may:
            raise Violation(f"{work} has ended wrongly ({what}): {record}")
        return record

    @staticmethod
    def _wait(condition: Callable[[], bool], what: Callable[[], str]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until:
                raise Violation(what())
            time.sleep(0.05)


def soak(rounds: int, seed: int, folder: Path) -> None:
    """Run the rounds and print their figures.

    Args:
        rounds: number of rounds.
        seed: seed of the random numbers; the timing still differs from run to run.
        folder: for all files.

    Raises:
        Violation: an invariant does not hold.
    """
    chance = random.Random(seed)
    began = time.monotonic()
    fleet = Fleet(folder, chance)
    try:
        with Shadow(fleet) as shadow:
            run = Soak(fleet, shadow, chance)
            print(f"{'up to':20} {HEADER}")
            for number in range(1, rounds + 1):
                run.round()
                if number % SUMMARY_EVERY == 0 or number == rounds:
                    print(f"round {number:<4} {time.monotonic() - began:7.0f} s {run.recent}", flush=True)
                    run.recent = Figures()
            run.compare()
    finally:
        fleet.close()
    left = end_launcher() + psutil.Process().children(recursive=True)
    if left:
        raise Violation(f"Processes are left:\n{describe(left)}")
    print(f"\n{'what went wrong':20} {HEADER}")
    for name, figures in sorted(run.figures.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"{name:20} {figures}")
    print(f"\nEverything came out right. {time.monotonic() - began:.0f} s, seed {seed}")


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Random jobs, random faults: everything must come out right.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="of what is random; made up if not given")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with short_folder() as folder:
        os.environ["TMPDIR"] = str(folder)  # as the fixture of the tests does
        try:
            soak(given.rounds, seed, folder)
        except Violation as exc:
            kept = shutil.copytree(folder / "logs", tempfile.mkdtemp(prefix="fbs-soak-"), dirs_exist_ok=True)
            print(f"\n{exc}\nseed {seed}; what the workers said is in {kept}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
