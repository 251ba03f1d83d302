"""The CRD on a real API server: what it refuses and with which words, what it fills in, what may change later."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
import urllib3

from controller.crd import crd
from tests.cluster.api import MERGE, Api, ApiError
from tests.cluster.control_plane import control_plane
from tests.cluster.waiting import eventually
from tests.controller.objects import Json, reverie

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]  # the first run builds everything

REVERIES: Final = "/apis/reverie.dev/v1alpha1/namespaces/default/reveries"
CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with control_plane(tmp_path_factory.mktemp("plane"), volcano=False) as plane:
        api = plane.api()
        install(api)
        yield api


def install(api: Api) -> None:
    """The CRD, until its objects can be made."""
    api.post(CRDS, crd())

    def established() -> bool:
        conditions = api.get(f"{CRDS}/reveries.reverie.dev")["status"]["conditions"] or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    eventually("the CRD", established)


def strictly(api: Api, body: Json) -> Json:
    """Creates as kubectl does, which asks the server to refuse unknown keys; as a dry run."""
    return api.post(f"{REVERIES}?fieldValidation=Strict&dryRun=All", body)


def test_the_schema_is_structural(api: Api) -> None:
    conditions = {one["type"]: one["status"] for one in api.get(f"{CRDS}/reveries.reverie.dev")["status"]["conditions"]}
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


# What is changed in a right object, and what the refusal says: the field, then the rule.
REFUSED: Final[dict[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    "no root": ({"root": None}, ("spec.root", "Required")),
    "no recipes": ({"recipes": None}, ("spec.recipes", "Required")),
    "no recipe of pretraining": ({"recipes.pretrain": None}, ("spec.recipes.pretrain", "Required")),
    "unknown recipe of generation": ({"recipes.generate": "nao"}, ('"nao"', '"nano", "nano_long", "synclr"')),
    "unknown recipe of pretraining": ({"recipes.pretrain": "vit_b61"}, ("spec.recipes.pretrain", '"vit_b61"')),
    "unknown recipe of evaluation": ({"recipes.evaluate": "best"}, ("spec.recipes.evaluate", '"best"')),
    "a folder as root": ({"root": "runs/nano"}, ("spec.root", '"runs/nano"', "s3|gs|az")),
    "a file as root": ({"root": "file:///runs/nano"}, ("spec.root",)),
    "memory as root": ({"root": "memory://nano"}, ("spec.root",)),
    "a password in the root": ({"root": "s3://key:word@bucket/x"}, ("spec.root",)),
    "a root with a blank": ({"root": "s3://bucket/my run"}, ("spec.root",)),
    "a root that is too long": ({"root": f"s3://bucket/{'x' * 512}"}, ("spec.root", "Too long")),
    "unknown key": ({"recipe": "nano"}, ('unknown field "spec.recipe"',)),
    "unknown key of a stage": ({"image.replica": 2}, ('unknown field "spec.image.replica"',)),
    "unknown key of a config": ({"image.config.per_caption": 4}, ('unknown field "spec.image.config.per_caption"',)),
    "a key that the resource sets": ({"pretrain.config.root": "x"}, ('unknown field "spec.pretrain.config.root"',)),
    "text for a number": ({"image.config.perCaption": "4"}, ("spec.image.config.perCaption", "integer")),
    "a fraction for an integer": ({"caption.config.count": 1.5}, ("spec.caption.config.count", "integer")),
    "no captions": ({"caption.config.count": 0}, ("spec.caption.config.count", "greater than or equal to 1")),
    "a unit of nothing": ({"caption.config.perUnit": 0}, ("spec.caption.config.perUnit",)),
    "unknown engine": ({"caption.config.engine": "ollama"}, ('"ollama"', '"transformers", "vllm"')),
    "negative temperature": ({"caption.config.temperature": -0.1}, ("spec.caption.config.temperature",)),
    "a nucleus of nothing": ({"caption.config.topP": 0.0}, ("spec.caption.config.topP", "greater than 0")),
    "a nucleus above one": ({"caption.config.topP": 1.1}, ("spec.caption.config.topP", "less than or equal to 1")),
    "words out of order": ({"caption.config.minWords": 61}, ("minWords must be at most", "(60), got 61")),
    "unknown precision": ({"caption.config.precision": "int8"}, ('"int8"', "bf16")),
    "unknown device": ({"image.config.device": "tpu"}, ('"tpu"', "cuda")),
    "a share above one": ({"caption.config.maxFlagged": 2}, ("spec.caption.config.maxFlagged",)),
    "no GPUs for vLLM": ({"caption.config.vllm": {"tensorParallel": 0}}, ("vllm.tensorParallel",)),
    "no lists of concepts": ({"concept.lists": []}, ("spec.concept.lists", "at least 1")),
    "a list without a file": ({"concept.lists": [{"weight": 1}]}, ("spec.concept.lists[0].file", "Required")),
    "a list without weight": ({"concept.lists": [{"file": "x", "weight": 0}]}, ("spec.concept.lists[0].weight",)),
    "groups of nothing": ({"concept.group": 0}, ("spec.concept.group",)),
    "one image for a multi-positive objective": (
        {"image.config.perCaption": 1, "pretrain.config.batch.imagesPerCaption": 1},
        ("perCaption must be at least 2", "got 1"),
    ),
    "more images per step than there are": (
        {"pretrain.config.batch.imagesPerCaption": 5},
        ("imagesPerCaption must be at most image.config.perCaption (4), got 5",),
    ),
    "an image of no multiple of 8": (
        {"image.config.size": 60, "image.config.saveSize": 60},
        ("size must be", "8, got 60"),
    ),
    "stored larger than painted": (
        {"image.config.saveSize": 128},
        ("saveSize must be at most image.config.size (64), got 128",),
    ),
    "guidance below one": ({"image.config.guidance": 0.5}, ("spec.image.config.guidance",)),
    "quality above 100": ({"image.config.quality": 101}, ("spec.image.config.quality",)),
    "unknown subsampling": ({"image.config.subsampling": "4:2:2"}, ('"4:2:2"',)),
    "no workers": ({"image.replicas": 0}, ("spec.image.replicas", "greater than or equal to 1")),
    "more workers than one variable can name": ({"image.replicas": 9001}, ("spec.image.replicas", "9000")),
    "no captioners": ({"caption.replicas": 0}, ("spec.caption.replicas",)),
    "no nodes": ({"pretrain.nodes": 0}, ("spec.pretrain.nodes",)),
    "no processes": ({"pretrain.processesPerNode": 0}, ("spec.pretrain.processesPerNode",)),
    "a batch that cannot be shared out": (
        {"pretrain.nodes": 3},
        ("batch.captions must be a multiple of", "(3), got 32"),
    ),
    "a batch of the object's own that cannot": (
        {"pretrain.processesPerNode": 4, "pretrain.config.batch.captions": 30},
        ("(4), got 30",),
    ),
    "accumulation that does not divide it": ({"pretrain.config.engine.accumulate": 5}, ("(5), got 32",)),
    "no steps": ({"pretrain.config.schedule.steps": 0}, ("spec.pretrain.config.schedule.steps",)),
    "more warm-up than steps": (
        {"pretrain.config.schedule.steps": 20},
        ("warmupSteps must be at most", "(20), got 30"),
    ),
    "a learning rate of nothing": ({"pretrain.config.schedule.lr": 0}, ("spec.pretrain.config.schedule.lr",)),
    "unknown ZeRO stage": ({"pretrain.config.engine.zeroStage": 4}, ("zeroStage",)),
    "unknown objective": ({"pretrain.config.objective.kind": "gan"}, ('"gan"', '"synclr"')),
    "one view for an objective that compares two": (
        {"recipes.pretrain": "simclr_nano", "pretrain.config.batch.globalCrops": 1},
        ("globalCrops must be at least", "(2), got 1"),
    ),
    "two views for an objective that compares images": (
        {"pretrain.config.batch.globalCrops": 2},
        ("globalCrops must be at most", "(1), got 2"),
    ),
    "three views for an objective that compares two": (
        {"recipes.pretrain": "declip_nano", "pretrain.config.batch.globalCrops": 3},
        ("globalCrops must be at most", "(2), got 3"),
    ),
    "a ResNet for an objective that masks patches": (
        {"pretrain.config.model.resnet": [3, 4, 6, 3]},
        ("objective.kind must be another than synclr with", "got synclr"),
    ),
    "local crops for a ResNet": (
        {"recipes.pretrain": "clip_rn50", "pretrain.config.batch.localCrops": 2},
        ("localCrops must be 0 with", "got 2"),
    ),
    "accumulation with a ResNet": (
        {"recipes.pretrain": "clip_rn50", "pretrain.config.engine.accumulate": 2},
        ("accumulate must be 1 with", "got 2"),
    ),
    "patches that do not fit": (
        {"pretrain.config.model.patchSize": 7},
        ("imageSize must be a multiple of", "(7), got 64"),
    ),
    "heads that do not fit": ({"pretrain.config.model.heads": 3}, ("width must be a multiple of", "(3), got 128")),
    "local crops that do not fit": (
        {"pretrain.config.batch.localSize": 30},
        ("localSize must be a multiple of", "got 30"),
    ),
    "an even kernel": ({"pretrain.config.batch.augment.blurKernel": 4}, ("blurKernel must be odd, got 4",)),
    "a range out of order": (
        {"pretrain.config.batch.globalScale": [1.0, 0.5]},
        ("globalScale must be two numbers in order",),
    ),
    "a range of three": ({"pretrain.config.batch.localScale": [0.1, 0.2, 0.3]}, ("localScale", "at most 2")),
    "a floor of more shards than there will be": (
        {"pretrain.config.batch.startShards": 9},
        ("startShards must be at most", "(8), got 9"),
    ),
    "no checkpoints kept": ({"pretrain.config.checkpoint.keep": 0}, ("spec.pretrain.config.checkpoint.keep",)),
    "a probability above one": ({"pretrain.config.batch.augment.flip": 1.5}, ("augment.flip",)),
    "an evaluation without neighbours": ({"evaluate.config.knn.neighbours": []}, ("knn.neighbours", "at least 1")),
    "labelled data in a folder": ({"evaluate.data": "labelled"}, ("spec.evaluate.data",)),
    "a pool of a wrong form": ({"pool": "H100_x8"}, ("spec.pool",)),
    "no pool": ({"pool": ""}, ("spec.pool",)),
    "a stage's pool of a wrong form": ({"image.pool": "l4 x1"}, ("spec.image.pool",)),
    "a queue of a wrong form": ({"queue": "My Queue"}, ("spec.queue",)),
    "a secret of a wrong form": ({"secrets": ["AWS KEYS"]}, ("spec.secrets[0]",)),
    "a secret twice": ({"secrets": ["storage", "storage"]}, ("spec.secrets", "Duplicate")),
    "unknown topology": ({"topology": "medium"}, ("spec.topology",)),
    "threads below zero": ({"caption.threads": -1}, ("spec.caption.threads",)),
    "a deadline of nothing": ({"activeDeadlineSeconds": 0}, ("spec.activeDeadlineSeconds",)),
    "a negative time to live": ({"ttlSecondsAfterFinished": -1}, ("spec.ttlSecondsAfterFinished",)),
    "negative restarts": ({"failurePolicy.maxRestarts": -1}, ("spec.failurePolicy.maxRestarts",)),
    "a window of nothing": ({"failurePolicy.windowSeconds": 0}, ("spec.failurePolicy.windowSeconds",)),
    "a first wait longer than the longest": (
        {"failurePolicy": {"backoffSeconds": 100, "maxBackoffSeconds": 50}},
        ("backoffSeconds must be at most", "got 100"),
    ),
    "no MLflow": ({"tracking": None}, ("tracking.uri must be the address of an MLflow server",)),
    "MLflow in a file of a pod": ({"tracking.uri": "sqlite:///mlflow.db"}, ("tracking.uri must be the address",)),
    "no experiment": ({"tracking.experiment": ""}, ("spec.tracking.experiment",)),
    "suspend as a word": ({"suspend": "yes"}, ("spec.suspend", "boolean")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_with_field_and_rule(api: Api, case: str) -> None:
    changes, told = REFUSED[case]
    with pytest.raises(ApiError) as refused:
        strictly(api, reverie(changes=changes))
    assert [part for part in told if part not in str(refused.value)] == [], str(refused.value)
    assert refused.value.code in (400, 422)


@pytest.mark.parametrize("name", ["x" * 31, "7seas", "a.b"])
def test_a_name_that_no_job_could_have_is_refused(api: Api, name: str) -> None:
    with pytest.raises(ApiError, match=f"metadata.name must be at most 30 .* got {name}"):
        strictly(api, reverie(name))


def test_every_recipe_alone_is_accepted(api: Api) -> None:
    for recipe in ("nano", "nano_long", "vit_b16", "vit_l14"):
        generate = recipe if recipe.startswith("nano") else "synclr"
        strictly(api, reverie(changes={"recipes": {"generate": generate, "pretrain": recipe, "evaluate": recipe}}))


def test_defaults_stand_in_the_object_and_config_keys_only_if_given(api: Api) -> None:
    made = strictly(api, reverie(changes={"image.config.perCaption": 6}))["spec"]
    assert (made["pool"], made["queue"], made["suspend"], made["graceSeconds"]) == ("cpu", "default", False, 300)
    assert made["image"] == {"config": {"perCaption": 6}, "replicas": 1, "pool": "", "image": "", "threads": 0}
    assert made["caption"]["config"] == {}
    assert made["failurePolicy"] == {
        "maxRestarts": 5, "windowSeconds": 3600, "backoffSeconds": 10, "maxBackoffSeconds": 300,
        "hangSeconds": 2400, "hangFactor": 20, "suspectFailures": 3, "suspectSeconds": 3600,
    }  # fmt: skip


def status(api: Api, name: str, body: Json) -> None:
    api.patch(f"{REVERIES}/{name}/status", {"status": body}, MERGE)


def change(api: Api, name: str, body: Json) -> Json:
    return api.patch(f"{REVERIES}/{name}?dryRun=All", {"spec": body}, MERGE)


def test_before_the_start_everything_may_change(api: Api) -> None:
    api.post(REVERIES, reverie("early"))
    changed = change(api, "early", {"root": "s3://other/run", "pretrain": {"nodes": 2}, "pool": "l4x1"})
    assert changed["spec"]["root"] == "s3://other/run"


@pytest.fixture(scope="module")
def started(api: Api) -> str:
    api.post(REVERIES, reverie("started"))
    status(api, "started", {"startTime": "2026-11-22T18:00:00Z"})
    return "started"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("root", {"root": "s3://other/run"}),
        ("recipes", {"recipes": {"pretrain": "nano_long"}}),
        ("concept", {"concept": {"group": 2}}),
        ("caption.config", {"caption": {"config": {"count": 512}}}),
        ("image.config", {"image": {"config": {"perCaption": 6}}}),
        ("image.pool", {"image": {"pool": "l4x1"}}),
        ("pretrain", {"pretrain": {"nodes": 2}}),
        ("evaluate", {"evaluate": {"config": {"batch": 10}}}),
        ("tracking", {"tracking": {"uri": "http://other"}}),
        ("secrets", {"secrets": ["storage"]}),
        ("queue", {"queue": "training"}),
    ],
)
def test_after_the_start_what_the_run_is_made_of_is_fixed(api: Api, started: str, path: str, body: Json) -> None:
    with pytest.raises(ApiError, match=f"spec.{path} cannot be changed after the start"):
        change(api, started, body)


def test_after_the_start_how_it_runs_may_still_change(api: Api, started: str) -> None:
    changed = change(
        api,
        started,
        {
            "suspend": True,
            "image": {"replicas": 7},
            "caption": {"replicas": 2},
            "activeDeadlineSeconds": 60,
            "ttlSecondsAfterFinished": 0,
            "failurePolicy": {"maxRestarts": 3},
        },
    )["spec"]
    assert (changed["suspend"], changed["image"]["replicas"], changed["failurePolicy"]["maxRestarts"]) == (True, 7, 3)


def test_kubectl_scale_changes_the_painters(api: Api) -> None:
    api.post(REVERIES, reverie("scaled"))
    status(api, "scaled", {"replicas": 1, "selector": "reverie.dev/stage=image"})
    scale = api.get(f"{REVERIES}/scaled/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    assert scale["status"]["selector"] == "reverie.dev/stage=image"
    api.patch(f"{REVERIES}/scaled/scale", {"spec": {"replicas": 5}}, MERGE)
    assert api.get(f"{REVERIES}/scaled")["spec"]["image"]["replicas"] == 5


def test_kubectl_get_says_where_a_run_stands(api: Api) -> None:
    api.post(REVERIES, reverie("shown"))
    status(
        api, "shown",
        {"phase": "Running", "stage": "image", "progress": "128/1024 (12 %)", "imagesPerSecond": 3.5, "eta": "04:16"},
    )  # fmt: skip
    assert row(api, "shown")[:6] == ["shown", "Running", "image", "128/1024 (12 %)", 3.5, "04:16"]


def row(api: Api, name: str) -> list[Any]:
    """What kubectl prints: it lets the server make the table."""
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    answer = api._pool.request("GET", f"{api.server}{REVERIES}/{name}", headers=headers)
    assert isinstance(answer, urllib3.BaseHTTPResponse)
    table = answer.json()
    assert [one["name"] for one in table["columnDefinitions"]] == [
        "Name", "Phase", "Stage", "Progress", "Images/s", "ETA", "Age",
    ]  # fmt: skip
    cells: list[Any] = table["rows"][0]["cells"]
    return cells
