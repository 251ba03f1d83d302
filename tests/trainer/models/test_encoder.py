"""CLIP's ResNet as an encoder gives what open_clip's gives before its last projection."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trainer.models import open_clips
from tests.trainer.objectives.small import RESNET
from trainer.config import ModelConfig
from trainer.distributed import Single
from trainer.models.clip import ARCHITECTURES, ClipModel, ResNetForm
from trainer.models.encoder import ResNet, ResNetEncoder, backbone, exported, new_encoder
from trainer.models.norms import settle
from trainer.models.resnet import ModifiedResNet
from trainer.recipes import RECIPES

FORM = open_clips.SMALL["resnet"]
MODEL = ModelConfig(resnet=(1, 2, 1, 1), image_size=64, patch_size=32, width=512, heads=8, drop_path=0.0)
SIZES = {"clip_rn50": "RN50", "clip_rn101": "RN101", "clip_rn50x4": "RN50x4", "clip_rn50x16": "RN50x16"} | {
    "clip_rn50x64": "RN50x64",
    "declip_rn50": "RN50",
}


def pair() -> tuple[nn.Module, nn.Linear, ResNet]:
    """open_clip's image tower, its last projection, and ours with its weights."""
    theirs = open_clips.theirs(FORM).visual.double()
    ours = ResNet(MODEL, Single()).double()
    state = theirs.state_dict()
    wanted = ours.state_dict().keys()
    assert {key for key in state if key not in wanted and not key.endswith("num_batches_tracked")} == {
        "attnpool.c_proj.weight",
        "attnpool.c_proj.bias",
    }
    ours.load_state_dict({key: state[key] for key in wanted})
    return theirs, theirs.get_submodule("attnpool.c_proj"), ours


@pytest.mark.parametrize("training", [False, True])
def test_the_resnet_gives_what_open_clips_projects(training: bool):
    """In evaluation by running statistics, in training by those of the batch."""
    theirs, projection, ours = pair()
    theirs.train(training)
    ours.train(training)
    image = open_clips.inputs(FORM, 4)[0].double()
    with torch.inference_mode():
        found = F.linear(ours(image).cls, projection.weight, projection.bias)
        torch.testing.assert_close(found, theirs(image))


def test_running_statistics_after_a_step_are_those_of_open_clip():
    theirs, _, ours = pair()
    image = open_clips.inputs(FORM, 4)[0].double()
    theirs.train()(image)
    ours.train()(image)
    settle(ours)
    expected = theirs.state_dict()
    running = {key: value for key, value in ours.state_dict().items() if "running" in key}
    assert len(running) == 2 * sum(isinstance(module, nn.BatchNorm2d) for module in theirs.modules())
    for key, value in running.items():
        torch.testing.assert_close(value, expected[key], msg=key)


@pytest.mark.parametrize(("recipe", "name"), SIZES.items())
def test_recipes_have_the_published_sizes(recipe: str, name: str):
    """Names and shapes of parameters and running statistics, without their memory; the last projection apart."""
    form = ARCHITECTURES[name]
    assert isinstance(form.image, ResNetForm)
    config = RECIPES[recipe]()
    with torch.device("meta"):
        theirs, ours = ClipModel(form).visual, backbone(config.model, 0.0, Single())
    assert isinstance(theirs, ModifiedResNet)
    assert isinstance(ours, ResNet)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if "num_batches" not in key}
    projection = expected.pop("attnpool.c_proj.weight")
    del expected["attnpool.c_proj.bias"]
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert ours.attnpool.heads == theirs.attnpool.heads
    assert projection == (getattr(config.objective, "embedding", None), config.model.width)


def test_what_is_evaluated_depends_on_no_other_image():
    """Loaded by its names into a new encoder, by running statistics that are not the ones it began with."""
    trained = ResNet(RESNET, Single())
    image = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    trained(image)
    settle(trained)
    found = new_encoder(RESNET)
    found.load_state_dict(exported(trained).state_dict())
    assert isinstance(found, ResNetEncoder)
    torch.testing.assert_close(found(image)[:1], found(image[:1]))
    torch.testing.assert_close(found(image), trained.eval()(image).cls)
    assert not any(parameter.requires_grad for parameter in found.parameters())
