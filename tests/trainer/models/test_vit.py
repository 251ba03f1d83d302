import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from trainer.config import ModelConfig
from trainer.models.vit import Encoder, Tokens, ViT

SMALL = ModelConfig(image_size=32, patch_size=8, width=32, depth=3, heads=2)


def images(count: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(SMALL).eval()


def test_shapes(vit):
    tokens: Tokens = vit(images(2))
    assert tokens.cls.shape == (2, 32)
    assert tokens.patches.shape == (2, 16, 32)
    assert Encoder(vit)(images(2)).equal(tokens.cls)


def test_an_exported_encoder_loads_into_timm_s_own_model(vit):
    """Same names, same numbers, but for the mask token, which only pretraining needs."""
    stock = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=0, norm_layer="layernorm"
    )
    for module in stock.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    left = stock.load_state_dict(vit.state_dict(), strict=False)
    assert left.missing_keys == []
    assert left.unexpected_keys == ["mask_token"]
    tokens = vit(images(2))
    torch.testing.assert_close(
        stock.eval().forward_features(images(2)), torch.cat([tokens.cls[:, None], tokens.patches], 1)
    )


def test_one_block_by_hand():
    """One white patch becomes (1, 0, 0), with its position (2, 1, 0); the class token is its position, (0, 0, 3). Their
    LayerNorms are (1.2247, 0, -1.2247) and (-0.7071, -0.7071, 1.4142). Queries and keys of 0 attend to both alike,
    values are what came: the mean (0.2588, -0.3536, 0.0947) is added to each. The MLP is 0. The last norm of
    (0.2588, -0.3536, 3.0947) and (2.2588, 0.6464, 0.0947) is what comes out. Masked, the patch is (0, 0, 1): with
    its position (1, 1, 1), whose norm is 0; with half of the class token's, (0.6464, 0.6464, 1.7071)."""
    vit = ViT(ModelConfig(image_size=8, patch_size=8, width=3, depth=1, heads=1, mlp_ratio=1.0)).eval()
    block = vit.blocks[0]
    with torch.no_grad():
        for zero in (vit.patch_embed.proj.weight, block.attn.qkv.weight, block.mlp.fc2.weight, vit.cls_token):
            zero.zero_()
        vit.patch_embed.proj.bias.zero_()
        vit.patch_embed.proj.weight[0] = 1 / (3 * 8 * 8)
        vit.pos_embed.copy_(torch.tensor([[[0.0, 0.0, 3.0], [1.0, 1.0, 0.0]]]))
        vit.mask_token.copy_(torch.tensor([0.0, 0.0, 1.0]))
        block.attn.qkv.weight[6:] = torch.eye(3)
        block.attn.proj.weight.copy_(torch.eye(3))
        tokens = vit(torch.ones(1, 3, 8, 8))
        masked = vit(torch.ones(1, 3, 8, 8), torch.tensor([[True]]))
    torch.testing.assert_close(tokens.cls, torch.tensor([[-0.4934, -0.9011, 1.3945]]), rtol=0, atol=1e-4)
    torch.testing.assert_close(tokens.patches, torch.tensor([[[1.3710, -0.3851, -0.9859]]]), rtol=0, atol=1e-4)
    torch.testing.assert_close(masked.patches, torch.tensor([[[-0.7071, -0.7071, 1.4142]]]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 24), (40, 40), (16, 32)])
def test_crops_of_any_multiple_of_the_patch(vit, height, width):
    assert vit(images(2, height, width)).patches.shape == (2, height * width // 64, 32)


def test_a_crop_of_another_size_is_said_so(vit):
    with pytest.raises(AssertionError, match="divisible by patch size"):
        vit(images(1, 30, 30))


@pytest.mark.parametrize("side", [16, 32, 40])
def test_with_convolutions_a_patch_is_a_token_too(side):
    vit = ViT(SMALL.model_copy(update={"stem": "conv"}))
    assert vit(images(2, side, side)).patches.shape == (2, (side // 8) ** 2, 32)


def test_with_convolutions_an_image_does_not_depend_on_its_batch():
    vit = ViT(SMALL.model_copy(update={"stem": "conv"})).eval()
    torch.testing.assert_close(vit(images(3)).cls[:1], vit(images(3)[:1]).cls)


def test_weights_from_xavier_keep_the_variance_of_what_passes_through():
    """Glorot's bound sqrt(6 / (in + out)) has the deviation sqrt(2 / (in + out)); of 64 to 256 channels, 0.079."""
    torch.manual_seed(0)
    wide = SMALL.model_copy(update={"width": 64, "init": "xavier"})
    first = ViT(wide).blocks[0].mlp.fc1
    assert first.weight.shape == (256, 64)
    assert first.weight.std().item() == pytest.approx((2 / 320) ** 0.5, rel=0.03)


def test_convolutions_halve_the_sides_so_a_patch_of_14_is_refused():
    with pytest.raises(ValueError, match=r"patch_size must be 2, 4, 8, ... for the stem conv, got 14"):
        ModelConfig(patch_size=14, stem="conv")


def test_positions_are_resampled_and_the_class_token_keeps_its_own(vit):
    """Positions that rise over the columns, 0 1 2 3, on half the grid: the new columns' middles are 0.5 and 2.5 in the
    old ones. Halfway between two points, bicubic interpolation (a = -0.75) weighs the four around it by
    (-3, 19, 19, -3) / 32, the border repeated: (-3*0 + 19*0 + 19*1 - 3*2) / 32 = 0.40625, and 3 - 0.40625."""
    with torch.no_grad():
        vit.pos_embed[:, 0] = 7.0
        vit.pos_embed[:, 1:] = torch.arange(4.0).repeat(4)[None, :, None]
    resampled = vit._positions(2, 2)
    expected = torch.tensor([7.0, 0.40625, 2.59375, 0.40625, 2.59375])
    torch.testing.assert_close(resampled[0, :, 0], expected)


def test_what_is_masked_is_not_seen(vit):
    """Other pixels under the mask change nothing; without the mask they do."""
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, [0, 5]] = True
    one = images(1)
    other = one.clone()
    other[:, :, :8, :8] += 1  # patch 0
    other[:, :, 8:16, 8:16] -= 1  # patch 5: second row, second column
    torch.testing.assert_close(vit(other, mask), vit(one, mask), rtol=0, atol=0)
    assert not torch.allclose(vit(other).cls, vit(one).cls)


def test_a_masked_patch_keeps_its_place(vit):
    """With all patches masked, tokens differ by position alone."""
    patches = vit(images(1), torch.ones(1, 16, dtype=torch.bool)).patches[0]
    assert not torch.allclose(patches[0], patches[1])
    with torch.no_grad():
        vit.pos_embed.zero_()
    patches = vit(images(1), torch.ones(1, 16, dtype=torch.bool)).patches[0]
    torch.testing.assert_close(patches, patches[:1].expand(16, -1))


def test_an_empty_mask_is_no_mask(vit):
    torch.testing.assert_close(vit(images(2), torch.zeros(2, 16, dtype=torch.bool)), vit(images(2)), rtol=0, atol=0)


def test_a_batch_is_its_images(vit):
    """No image knows of another."""
    torch.testing.assert_close(vit(images(3)).cls[1:2], vit(images(3)[1:2]).cls)


def test_weights_at_the_start():
    torch.manual_seed(0)
    vit = ViT(ModelConfig(image_size=64, patch_size=8, width=256, depth=2, heads=4))
    assert 0 < vit.cls_token.abs().max() < 1e-5
    assert vit.mask_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert vit.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert vit.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert vit.blocks[0].attn.qkv.bias.abs().max() == 0
    assert all(module.eps == 1e-6 for module in vit.modules() if isinstance(module, nn.LayerNorm))


def test_stochastic_depth_grows_linearly():
    def rates(vit: ViT) -> list[float]:
        return [getattr(block.drop_path1, "drop_prob", 0.0) for block in vit.blocks]

    assert rates(ViT(SMALL, drop_path=0.4)) == pytest.approx([0.0, 0.2, 0.4])
    assert rates(ViT(SMALL)) == [0, 0, 0]


@pytest.mark.parametrize(
    ("width", "depth", "heads", "patch"),
    [(768, 12, 12, 16), (1024, 24, 16, 14)],
)
def test_the_paper_s_sizes(width, depth, heads, patch):
    """Per block 12 D^2 + 13 D (attention 4 D^2 + 4 D, MLP 8 D^2 + 5 D, two norms 4 D): no LayerScale, no SwiGLU. Then
    the patch embedding, the positions with the class token's, class token, mask token and the last norm: 85.8M for
    ViT-B/16 and 303.2M for ViT-L/14."""
    with torch.device("meta"):
        vit = ViT(ModelConfig(image_size=224, patch_size=patch, width=width, depth=depth, heads=heads))
    around = (3 * patch * patch + 1) * width + ((224 // patch) ** 2 + 1) * width + 4 * width
    assert sum(parameter.numel() for parameter in vit.parameters()) == depth * (12 * width**2 + 13 * width) + around
