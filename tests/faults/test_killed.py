"""A worker killed at each step of each job: the job runs again, and its effect is there exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from fbs_worker.client.client import JobHandle
from fbs_worker.jobs.model import JobState
from tests.support.held_odoo import Matches, begins, reads
from tests.support.leftovers import left_in_redis
from tests.support.obstacles import PostgresLock
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

REGISTRY = "LOCK TABLE fbs_solution_schemas IN ACCESS EXCLUSIVE MODE"
CATALOGUE = "SELECT pg_advisory_xact_lock(hashtextextended('fbs:catalogue:fbs_:hr', 0))"
SOLUTION = "SELECT pg_advisory_lock(hashtextextended('fbs:solution:shop', 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a job is when its worker is killed.

    Attributes:
        action: what the job does; see `Stage.begin`.
        step: the step that it is in.
        odoo: the request of Odoo that is held there; None where a lock holds the job.
        lock: the statement that takes that lock.
        home: in the home database, not in the solution's.
        then_registry: the job continues until it writes the registry: the solution's database has been
            changed for good then, the home database not yet.
    """

    action: str
    step: str
    odoo: Matches | None = None
    lock: str = ""
    home: bool = False
    then_registry: bool = False

    def __str__(self) -> str:
        return f"{self.action}-{'registry' if self.then_registry else self.step.replace(' ', '_')}"


READING = {
    "connect": begins,
    "modules": reads("ir.module.module"),
    "models": reads("ir.model"),
    "views": reads("ir.ui.view"),
    "fields": reads("ir.model.fields.selection"),
}
SAVING = {"compare": CATALOGUE, "save": "LOCK TABLE fbs_discoveries IN SHARE MODE"}
DERIVING = {"derive": "LOCK TABLE fbs_workflow_definitions IN SHARE MODE"}
MAKING = {"tables": REGISTRY}
STEPS = {
    "discover": SAVING,
    "refresh": {"wait": SOLUTION, **SAVING, **DERIVING},
    "setup": {"wait": SOLUTION, **SAVING, **MAKING, **DERIVING},
    "drop": {"wait": SOLUTION, "drop": "LOCK TABLE hr_employee IN SHARE MODE"},
}
SCENES = [
    *(
        Scene(action=action, step=step, odoo=odoo)
        for action in ("discover", "refresh", "setup")
        for step, odoo in READING.items()
    ),
    *(Scene(action=action, step=step, lock=lock) for action, steps in STEPS.items() for step, lock in steps.items()),
    Scene(action="look", step="compare fingerprint", odoo=reads("ir.module.module")),
    Scene(action="drop", step="connect", lock=REGISTRY, home=True),
    Scene(action="setup", step="derive", lock=DERIVING["derive"], then_registry=True),
    Scene(action="drop", step="drop", lock=STEPS["drop"]["drop"], then_registry=True),
]


@contextmanager
def held(stage: Stage, scene: Scene) -> Iterator[JobHandle]:
    """Enqueue a job and keep it in its step while the `with` block lasts."""
    with ExitStack() as stack:
        if scene.odoo is not None:
            hold = stack.enter_context(stage.odoo.hold(scene.odoo))
            job = stage.enqueue(scene.action)
            hold.wait_until_reached()
        else:
            job = _at_a_lock(stage, scene, stack)
        until(lambda: job.status().step == scene.step, job.status)
        yield job


def _at_a_lock(stage: Stage, scene: Scene, stack: ExitStack) -> JobHandle:
    place = stage.home if scene.home else stage.target
    early = scene.action == "drop" or scene.step == "wait"
    if early:
        lock = stack.enter_context(PostgresLock(place, scene.lock))
        job = stage.enqueue(scene.action)
    else:  # what it locks is read before the long part begins
        with stage.odoo.hold(reads("ir.module.module")) as hold:
            job = stage.enqueue(scene.action)
            hold.wait_until_reached()
            lock = stack.enter_context(PostgresLock(place, scene.lock))
    if scene.step != "wait":  # a job that waits for the lock polls it
        lock.wait_until_reached()
    if scene.then_registry:
        registry = stack.enter_context(PostgresLock(stage.home, REGISTRY))
        lock.release()
        registry.wait_until_reached()
    return job


@pytest.mark.parametrize("action", ["discover", "refresh", "look", "setup", "drop"])
def test_every_step_is_covered(stage: Stage, action: str) -> None:
    stage.expected(action)
    stage.some_worker()
    job = stage.enqueue(action)
    steps = {event.step for event in job.follow() if event.kind == "step"}
    known = {scene.step for scene in SCENES if scene.action in {action, "refresh" if action == "look" else action}}
    assert steps <= known
    stage.assert_done_once(action, job, attempts=1)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_killed_child_is_replaced_and_its_job_runs_again(stage: Stage, scene: Scene) -> None:
    stage.expected(scene.action)
    worker = stage.some_worker()
    with held(stage, scene) as job:
        worker.kill_child()
    stage.assert_done_once(scene.action, job, attempts=2)
    assert worker.alive


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_killed_worker_s_job_is_run_by_another(stage: Stage, scene: Scene) -> None:
    stage.expected(scene.action)
    worker = stage.some_worker()
    with held(stage, scene) as job:
        worker.kill_main()
    stage.some_worker()
    stage.assert_done_once(scene.action, job, attempts=2)


def test_a_worker_that_dies_before_it_acknowledges_has_its_job_done_once(stage: Stage) -> None:
    stage.expected("refresh")
    worker = stage.some_worker_ready()
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        job = stage.enqueue("refresh")
        hold.wait_until_reached()
        worker.freeze_main()  # it cannot acknowledge; the process that runs the job goes on
    assert stage.finished(job).state is JobState.SUCCEEDED
    assert left_in_redis(stage.redis_url)
    worker.kill_main()
    stage.some_worker()
    stage.assert_done_once("refresh", job, attempts=1)


def test_a_drop_that_a_frozen_worker_completes_is_done(stage: Stage) -> None:
    """Another attempt waits for the lock meanwhile; it finds the solution gone."""
    stage.expected("drop")
    frozen = stage.some_worker()
    with held(stage, next(scene for scene in SCENES if scene.action == "drop" and scene.then_registry)) as job:
        frozen.freeze()
        until(lambda: job.status().state is JobState.LOST, job.status)
    other = stage.worker()
    try:
        until(lambda: (job.status().attempts, job.status().step) == (2, "wait"), job.status)
    finally:
        frozen.thaw()
    stage.assert_done_once("drop", job, attempts=2)
    other.stop()
