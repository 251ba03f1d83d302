"""Whatever is observed, in whatever order: a run converges, and never does what it must not."""

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.actions import CreateJob, WriteStatus
from controller.intervals import LONGEST, SHORTEST
from controller.status import StageName
from tests.controller.simulated import Simulated, failed

STAGES: tuple[StageName, ...] = ("caption", "image", "render", "pretrain", "evaluate")
ONE = st.sampled_from(STAGES)


class Walk(RuleBasedStateMachine):
    """A person, a cluster and failures, all at random. After each step the controller decides until nothing is left."""

    @initialize(floor=st.integers(0, 8), data=st.sampled_from(["", "s3://bucket/labelled"]), restarts=st.integers(0, 3))
    def start(self, floor: int, data: str, restarts: int) -> None:
        self.run = Simulated(
            {
                "pretrain.config.batch.startShards": floor,
                "evaluate.data": data,
                "failurePolicy.maxRestarts": restarts,
                "failurePolicy.windowSeconds": 600,
                "failurePolicy.suspectFailures": 2,
                "pretrain.spares": 2,
                "pretrain.config.checkpoint.byFailures": True,
            }
        )
        self.made: set[str] = set()
        self.settle()

    def settle(self, seconds: float = 0) -> None:
        """Decides, carries out, and checks each decision."""
        over = self.run.status.completion_time is not None
        for action in self.run.reconcile(seconds):
            if isinstance(action, CreateJob):
                name = action.job["metadata"]["name"]
                assert not over, f"{name} is made for a run that is over"
                assert not self.suspended, f"{name} is made in a suspension"
                assert name not in self.made, f"{name} is made twice"
                self.made.add(name)
            assert not (over and isinstance(action, WriteStatus)), "the status of a run that is over changes"

    @property
    def suspended(self) -> bool:
        return self.run.seen.spec is not None and self.run.seen.spec.suspend

    def live(self, stage: StageName) -> bool:
        """Whether a stage has a job that can still change."""
        names = self.run.states()
        if names.get(stage) not in ("Pending", "Running"):
            return False
        job = self.run.seen.job(self.run.stage(stage).job_name)
        return job is not None and not job.ended and not job.deleting

    @rule(stage=ONE, waiting=st.integers(0, 1))
    def runs(self, stage: StageName, waiting: int) -> None:
        """Or one of its pods waits for a node; then no spare keeps it from one."""
        if self.live(stage):
            self.run.set(stage, "Running", running=1 - waiting, waiting=waiting)
            self.settle(1)
            assert not (waiting and self.run.job(stage).spares)

    @rule(stage=ONE)
    def completes(self, stage: StageName) -> None:
        if self.live(stage):
            self.run.set(stage, "Completed")
            self.settle(1)

    @rule(
        stage=ONE,
        code=st.sampled_from([1, 75, 76, 137, 143, None]),
        alive=st.integers(0, 1),
        node=st.sampled_from(["", "bad", "good"]),
    )
    def fails(self, stage: StageName, code: int | None, alive: int, node: str) -> None:
        if self.live(stage):
            self.run.set(stage, "Failed", failed(code, node=node), alive=alive)
            self.settle(1)

    @rule(stage=ONE, done=st.integers(0, 300), shards=st.integers(0, 8), save=st.sampled_from([None, 0.01, 5.0, 9e4]))
    def reports(self, stage: StageName, done: int, shards: int, save: float | None) -> None:
        self.run.report(stage, done, shards, rate=1.0, save=save)
        self.settle(1)

    @rule(stage=ONE, done=st.integers(0, 300), step=st.sampled_from([None, 0.5, 100.0]), age=st.floats(0, 9999))
    def tells_a_heartbeat(self, stage: StageName, done: int, step: float | None, age: float) -> None:
        """Nothing that moved within `hangSeconds` is ever found to hang."""
        before = len(self.run.told_hung)
        self.run.report(stage, done, step=step, age=age)
        self.settle()
        assert len(self.run.told_hung) == before or age > 2400

    @rule(stage=ONE)
    def job_vanishes(self, stage: StageName) -> None:
        if self.run.states().get(stage) == "Running":
            self.run.remove(stage)
            self.settle(1)

    @rule()
    def pods_end(self) -> None:
        self.run.remove_deleted()
        self.run.seen = replace(self.run.seen, jobs=tuple(replace(one, alive=0) for one in self.run.seen.jobs))
        self.settle(1)

    @rule(seconds=st.integers(1, 1000))
    def time_passes(self, seconds: int) -> None:
        self.settle(seconds)

    @precondition(lambda self: self.run.status.completion_time is None)
    @rule(suspend=st.booleans())
    def person_suspends_or_resumes(self, suspend: bool) -> None:
        self.run.edit(suspend=suspend)
        self.settle(1)

    @rule(replicas=st.integers(1, 9))
    def person_scales(self, replicas: int) -> None:
        self.run.edit(**{"image.replicas": replicas})
        self.settle(1)

    @invariant()
    def at_most_one_job_of_a_stage_is_to_run(self) -> None:
        for stage in STAGES:
            working = [
                job.name
                for job in self.run.seen.jobs
                if f"-{stage}-" in job.name and not job.ended and not job.deleting
            ]
            assert len(working) <= 1, working

    @invariant()
    def an_interval_between_checkpoints_is_a_sane_one(self) -> None:
        for stage in self.run.status.stages:
            assert stage.checkpoint_seconds is None or SHORTEST <= stage.checkpoint_seconds <= LONGEST

    @invariant()
    def stages_keep_their_order(self) -> None:
        states = self.run.states()
        if states.get("evaluate", "Waiting") not in ("Waiting", "Cancelled"):
            assert states["pretrain"] == "Succeeded"
            assert states.get("render", "Succeeded") == "Succeeded"

    @invariant()
    def a_suspended_run_has_no_job_that_is_to_run(self) -> None:
        if self.suspended:
            assert not [job for job in self.run.seen.jobs if not job.ended and not job.deleting]

    def teardown(self) -> None:
        """From wherever it is, with a cluster that works, it comes to an end."""
        if not hasattr(self, "run"):
            return
        if self.run.status.completion_time is None:
            self.run.edit(suspend=False)
        for _ in range(40):
            if self.run.status.completion_time is not None:
                break
            self.pods_end()
            self.settle(400)
            for stage in STAGES:
                self.completes(stage)
        assert self.run.status.phase in ("Succeeded", "Failed"), self.run.states()
        self.pods_end()
        assert self.run.decide() == (), "something is done about a run that is over"


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,  # the same walks each time: a failure is one that another machine can see
    suppress_health_check=[HealthCheck.too_slow],
)
