"""Our CLIP towers compute what open_clip's do."""

from dataclasses import replace

import pytest
import torch

from config import ConfigError
from tests.trainer.models import open_clips
from trainer.models.clip import ARCHITECTURES, Architecture, ClipModel, architecture
from trainer.models.resnet import AttentionPool, Bottleneck
from trainer.models.weights import renamed


def agree(form: Architecture, tolerance: float) -> None:
    """Both towers' features, not normalised, within `tolerance` of their largest value; float32, one thread."""
    theirs, ours = open_clips.theirs(form), ClipModel(form).eval()
    ours.load_state_dict(renamed(theirs.state_dict()))
    image, token = open_clips.inputs(form)
    with torch.inference_mode():
        pairs = {
            "image": (ours.visual(image), theirs.encode_image(image)),
            "text": (ours.text(token), theirs.encode_text(token)),
        }
    for tower, (found, expected) in pairs.items():
        assert found.shape == (2, form.embedding)
        assert float((found - expected).abs().max() / expected.abs().max()) < tolerance, tower


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("kind", open_clips.SMALL)
def test_small_towers_agree_with_open_clips(kind: str, quick_gelu: bool):
    form = open_clips.SMALL[kind]
    agree(replace(form, text=form.text.model_copy(update={"quick_gelu": quick_gelu})), 2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RN50", "ViT-B-32-quickgelu"])
def test_published_sizes_agree_with_open_clips(name: str):
    """Rounding adds up over more layers. The text tower of both is CLIP's of 12 layers."""
    agree(ARCHITECTURES[name], 1e-5)


@pytest.mark.slow
def test_every_size_is_that_of_open_clips_config():
    """Names and shapes of all parameters of all models, without their memory."""
    import open_clip

    for name, form in ARCHITECTURES.items():
        config = open_clip.get_model_config(name)
        if config is None:  # it has no config of ViT-L-14-336's plain name
            assert name.startswith("ViT-L-14-336") or name.endswith("quickgelu"), name
            continue
        with torch.device("meta"):
            theirs = {key: value.shape for key, value in renamed(open_clips.theirs(form).state_dict()).items()}
            ours = {key: value.shape for key, value in ClipModel(form).state_dict().items()}
        vision, text = config["vision_cfg"], config["text_cfg"]
        assert ours == theirs, name
        assert config.get("quick_gelu", False) == form.text.quick_gelu, name
        assert (config["embed_dim"], vision["image_size"]) == (form.embedding, form.image_size), name
        layers = vision["layers"] if isinstance(vision["layers"], int) else tuple(vision["layers"])
        assert (layers, vision["width"]) == (
            getattr(form.image, "layers", getattr(form.image, "depth", None)),
            form.image.width,
        )
        assert vision.get("patch_size") == getattr(form.image, "patch", None), name
        assert vision.get("head_width", 64) == 64 or form.image.heads == vision["width"] // vision["head_width"], name
        assert (text["width"], text["heads"], text["layers"]) == (form.text.width, form.text.heads, form.text.depth), (
            name
        )
        assert (text["vocab_size"], text["context_length"]) == (form.vocabulary, form.context), name


def test_a_block_begins_as_its_shortcut():
    """The last norm's scale is 0: what is left is the rectified input."""
    block = Bottleneck(16, 4).eval()
    image = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(image), image.relu())


def test_strides_average_before_they_skip():
    """A pattern of alternating 1 and -1 is gone after the shortcut's average; a plain stride would keep it as all 1."""
    block = Bottleneck(4, 1, stride=2).eval()
    rows = torch.tensor([1.0, -1.0]).repeat(4)
    image = (rows[:, None] * rows[None]).expand(1, 4, 8, 8)
    assert block.downsample is not None
    assert block.downsample[0](image).abs().max() == 0
    assert [module.stride for module in block.modules() if isinstance(module, torch.nn.Conv2d)] == [(1, 1)] * 4


def test_attention_pooling_of_equal_places_is_that_place():
    """All places and their average are alike, and positions are 0: whatever the weights of the attention, the value of
    one place comes out."""
    pool = AttentionPool(2, 64, 1, 8)
    with torch.no_grad():
        pool.positional_embedding.zero_()
    place = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    expected = pool.c_proj(pool.v_proj(place))
    torch.testing.assert_close(pool(place[:, :, None, None].expand(1, 64, 2, 2)), expected)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"'RN51'; known are RN50, .*ViT-H-14-quickgelu"):
        architecture("RN51")
