"""What can be asked of the controller: the spec of a `Reverie`.

    spec:
      root: s3://bucket/nano
      recipes: {generate: nano, pretrain: nano, evaluate: nano}
      image: {replicas: 3, pool: l4x1, config: {perCaption: 4}}

The recipes give the configs of all stages; each `config` says what differs from them, with the keys that the stage's
command line has, in camelCase. What a section admits comes from the sections themselves (`generator/config.py`,
`trainer/config.py`), so there is no second list of settings here. What the controller answers is in `status.py`.

How a stage runs (`replicas`, `pool`, `image`) stands beside its `config`, which says what it computes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from config import Section
from controller.names import camel
from controller.schema import Schema, partial
from generator.config import CaptionConfig, ConceptConfig, ImageConfig, LeaseConfig
from generator.recipes import RECIPES as GENERATE
from tracking.config import TrackingConfig
from trainer.config import EvaluateConfig, PretrainConfig
from trainer.recipes import EVALUATIONS
from trainer.recipes import RECIPES as PRETRAIN

GROUP: Final = "reverie.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "Reverie"
PLURAL: Final = "reveries"

_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
_ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
_SecretName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:/[^\s]*)?$", max_length=512)]
_URI: Final = r"(s3|gs|az)://[^/\s:@]+(/[^\s]*)?"  # no user, no password
_POOL: Final = r"^([a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?)?$"  # of components/pools.py, or empty


class Part(Section):
    """Base of the resource's own parts: a Section whose keys are camelCase in YAML."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True)


@dataclass(frozen=True)
class PartOf:
    """Marks a tree of what differs from a recipe in a config section. It is checked when the whole config is made."""

    section: type[Section]
    without: tuple[str, ...] = ()
    """Keys that the resource sets elsewhere."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return {**partial(self.section, self.without), "default": {}}


@dataclass(frozen=True)
class OneOf:
    """Marks a name that must be among those known."""

    names: tuple[str, ...]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return {**handler(core), "enum": list(self.names)}


def one_of(names: Iterable[str]) -> OneOf:
    """Those names, in their order."""
    return OneOf(tuple(names))


Overrides = dict[str, Any]


class Recipes(Part):
    """The base of every stage's config. They are resolved once, when the run starts."""

    generate: Annotated[str, one_of(GENERATE)]
    """Recipe of captions and images, of generator/recipes."""
    pretrain: Annotated[str, one_of(PRETRAIN)]
    """Recipe of pretraining, of trainer/recipes."""
    evaluate: Annotated[str, one_of(EVALUATIONS)]
    """Recipe of the evaluation, of trainer/recipes."""


class Stage(Part):
    """How the pods of a stage run."""

    pool: str = Field("", pattern=_POOL)
    """Node pool of its pods, of helm/reverie/files/pools.yaml. Empty: `spec.pool`."""
    image: str = ""
    """Container image. Empty: the released one of the version that starts the run, which the run then keeps."""
    threads: int = Field(0, ge=0)
    """Threads of each process on a CPU. 0 leaves it to the libraries."""


class CaptionStage(Stage):
    """A language model writes captions."""

    replicas: int = Field(1, ge=1, le=9000)
    """Workers. They share units of work through the storage, so it can be changed at any time."""
    config: Annotated[Overrides, PartOf(CaptionConfig)] = Field(default_factory=dict)
    """What differs from the recipe's section `caption`."""


class ImageStage(Stage):
    """A diffusion model paints images; starts with the first committed caption shard."""

    replicas: int = Field(1, ge=1, le=9000)
    """Workers, as of `caption`. `kubectl scale` and autoscalers set this one."""
    config: Annotated[Overrides, PartOf(ImageConfig)] = Field(default_factory=dict)
    """What differs from the recipe's section `image`."""


class PretrainStage(Stage):
    """An encoder learns from the images; starts when `batch.startShards` of their shards are committed, or all are."""

    nodes: int = Field(1, ge=1, le=2500)
    """Machines. They start and restart together."""
    processes_per_node: int = Field(1, ge=1, le=64)
    """Processes per machine; one per GPU."""
    spares: int = Field(0, ge=0, le=100)
    """Hot spares: nodes that are held beside the others while all of those work, and given up for one that is lost, so
    that nobody waits for a new machine. They cost what a node costs and count towards the queue's share. 0: none."""
    config: Annotated[Overrides, PartOf(PretrainConfig, ("root", "tracking"))] = Field(default_factory=dict)
    """What differs from the recipe of pretraining."""


class EvaluateStage(Stage):
    """What the frozen encoder is good for."""

    data: str = Field("", pattern=f"^({_URI})?$", max_length=512)
    """URI of labelled shards with the stages `train` and `test`. Empty: renders of the small world, which one more
    stage, `render`, makes under the root."""
    config: Annotated[Overrides, PartOf(EvaluateConfig, ("root", "data", "run", "step", "wait", "tracking"))] = Field(
        default_factory=dict
    )
    """What differs from the recipe of the evaluation."""


class FailurePolicy(Part):
    """What happens when a stage fails. 64, 65 and 77 (config, data, not finite) are never tried again; preemption,
    eviction and suspension are not counted."""

    max_restarts: int = Field(5, ge=0, le=100)
    """Restarts of a stage within the window; one failure more, and the run fails as a crash loop. 0: the first failure
    ends it. Of captions and images, also how often one worker is replaced at once before its whole stage counts as
    failed. The window must be longer than so many waits and starts, or a crash loop is never seen."""
    window_seconds: int = Field(3600, ge=1)
    """Length of the sliding window: what is longer ago is forgiven. An hour, in which a run of thousands of GPUs fails
    once or twice by itself."""
    backoff_seconds: int = Field(10, ge=1)
    """Wait before the first restart; doubles with each one in the window."""
    max_backoff_seconds: int = Field(300, ge=1)
    """The longest wait."""
    hang_seconds: int = Field(2400, ge=0)
    """A stage whose pods answer but tell no progress for so long hangs: they write their stacks, and it is started
    again. Longer than the slowest first step or save; ten minutes more than the trainer allows itself
    (`pretrain.config.engine.hangSeconds`), which knows sooner. 0: no watchdog."""
    hang_factor: float = Field(20.0, ge=1)
    """Median steps that may pass without progress where those are longer than `hangSeconds`: a unit of images can take
    an hour, and some take several times as long as others."""
    suspect_failures: int = Field(3, ge=0, le=20)
    """Attempts of a stage that fail on one node within the window (a crash, a signal, the node lost) before the next
    attempts avoid it. Three: the first two can be chance. 0: no node is ever avoided."""
    suspect_seconds: int = Field(3600, ge=1)
    """How long it is avoided."""


class Spec(Part):
    """One run, from concepts to an evaluated encoder."""

    recipes: Recipes
    """The base of every stage's config."""
    root: str = Field(pattern=f"^{_URI}$", max_length=512)
    """Where the run lives: a URI of s3:, gs: or az: that all pods reach. One run per root."""
    concept: Annotated[Overrides, PartOf(ConceptConfig)] = Field(default_factory=dict)
    """What differs from the recipe's section `concept`."""
    lease: Annotated[Overrides, PartOf(LeaseConfig)] = Field(default_factory=dict)
    """What differs from the recipe's section `lease`."""
    tracking: Annotated[Overrides, PartOf(TrackingConfig)] = Field(default_factory=dict)
    """What differs from the recipes' section `tracking`, for all stages. `uri` is MLflow's address."""
    caption: CaptionStage = CaptionStage()
    """Captions."""
    image: ImageStage = ImageStage()
    """Images."""
    pretrain: PretrainStage = PretrainStage()
    """Pretraining."""
    evaluate: EvaluateStage = EvaluateStage()
    """Evaluation."""
    pool: str = Field("cpu", pattern=_POOL, min_length=1)
    """Node pool of stages that name none."""
    queue: str = Field("default", pattern=_NAME, max_length=63)
    """Volcano queue whose share the jobs use."""
    priority_class: str = Field("", pattern=rf"{_NAME}|^$", max_length=253)
    """PriorityClass of the jobs. Empty: the cluster's default."""
    service_account: str = Field("", pattern=rf"{_NAME}|^$", max_length=253)
    """Service account of the pods: their identity towards the storage. Its token is not mounted. Empty: `default`."""
    secrets: tuple[_SecretName, ...] = Field((), json_schema_extra=_SET)
    """Secrets of the namespace, by name: `NAME` gives its keys as variables, `NAME:/path` mounts them as files."""
    image_pull_secrets: tuple[_ObjectName, ...] = Field((), json_schema_extra=_SET)
    """Secrets with which images are pulled."""
    topology: str = Field("", pattern=r"^((soft|hard)(:[0-9]+)?)?$")
    """Volcano's network topology, as `hard:2`. Empty: nodes near each other are preferred where the pool knows them."""
    grace_seconds: int = Field(300, ge=0, le=86400)
    """Time to save between SIGTERM and SIGKILL, seconds."""
    suspend: bool = False
    """True saves, ends all pods and keeps everything; false goes on where it was."""
    active_deadline_seconds: int | None = Field(None, ge=1)
    """Longest time from the start to the end, seconds, without those suspended. Absent: none."""
    ttl_seconds_after_finished: int | None = Field(None, ge=0)
    """When a finished resource deletes itself, seconds after its end. Absent: never. What is stored stays."""
    failure_policy: FailurePolicy = FailurePolicy()
    """What happens when a stage fails."""
