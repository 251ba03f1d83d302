import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainer.distributed import Single
from trainer.models.heads import PrototypeHead, contrastive_head, siamese_heads


def kinds(head: nn.Sequential) -> list[str]:
    return [type(module).__name__ for module in head]


def test_the_projector_has_three_layers_and_the_predictor_two():
    hidden, last = ["Linear", "LayerNorm", "GELU"], ["Linear", "LayerNorm"]
    assert kinds(contrastive_head(6, 8, 4, layers=3)) == hidden * 2 + last
    assert kinds(contrastive_head(4, 8, 4, layers=2)) == hidden + last


def test_with_ranks_given_the_norms_are_of_the_batch():
    head = contrastive_head(6, 8, 4, layers=2, batch_of=Single())
    assert kinds(head) == ["Linear", "BatchNorm", "GELU", "Linear", "BatchNorm"]
    assert list(head[-1].parameters()) == []
    out = head(torch.randn(5, 6))
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)


def test_siamese_heads_are_simsiam_s():
    """A norm after every layer of the projector, its last included, and after the predictor's first alone."""
    for batch_of, norm in ((Single(), "BatchNorm"), (None, "LayerNorm")):
        projector, predictor = siamese_heads(6, 8, 4, batch_of)
        assert kinds(projector) == ["Linear", norm, "ReLU", "Linear", norm, "ReLU", "Linear", norm]
        assert kinds(predictor) == ["Linear", norm, "ReLU", "Linear"]
        assert predictor(projector(torch.randn(5, 6))).shape == (5, 8)
        assert predictor[0].out_features == 4


def test_the_last_layer_has_neither_bias_nor_gain():
    head = contrastive_head(6, 512, 256, layers=3)
    assert head[-2].bias is None
    assert list(head[-1].parameters()) == []
    out = head(torch.randn(5, 6))
    torch.testing.assert_close(out.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones(5), atol=1e-2, rtol=0)


def test_a_head_of_two_layers_by_hand():
    """One number, 3, to (3, -3). Their LayerNorm is (1, -1), of which GELU leaves x P(Z < x): 0.841345 and -0.158655.
    The last layer gives both and their sum, 0.682689; the mean of the three is 0.455126, their deviation 0.438815, and
    what is left (0.8801, -1.3987, 0.5186)."""
    head = contrastive_head(1, 2, 3, layers=2)
    with torch.no_grad():
        head[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        head[3].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        out = head(torch.tensor([[3.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.8801, -1.3987, 0.5186]]), rtol=0, atol=1e-4)


def test_scores_by_hand():
    """(3, 4) has the length 5: (0.6, 0.8). Against the prototypes' directions, whatever their length, times the scale:
    1 * 0.6 and 3 * 0.8."""
    head = PrototypeHead(2, 1, 2, prototypes=2, layers=1)
    weight = head.prototypes.parametrizations.weight
    with torch.no_grad():
        head.mlp[0].weight.copy_(torch.eye(2))
        weight.original0.copy_(torch.tensor([[1.0], [3.0]]))
        weight.original1.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        score = head(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(score, torch.tensor([[0.6, 2.4]]))


def test_the_paper_s_sizes():
    """Projector 768 > 4096 > 4096 > 256: (768 + 1) 4096 + 2 * 4096 + (4096 + 1) 4096 + 2 * 4096 + 4096 * 256."""
    with torch.device("meta"):
        head = contrastive_head(768, 4096, 256, layers=3)
    expected = 769 * 4096 + 4097 * 4096 + 2 * 2 * 4096 + 4096 * 256
    assert sum(parameter.numel() for parameter in head.parameters()) == expected


def test_weights_at_the_start():
    torch.manual_seed(0)
    for head in (contrastive_head(64, 128, 64, 3), PrototypeHead(64, 128, 64, 100, 3).mlp):
        linears = [module for module in head if isinstance(module, nn.Linear)]
        assert all(linear.weight.std().item() == pytest.approx(0.02, rel=0.1) for linear in linears)
        assert all(linear.bias.abs().max() == 0 for linear in linears if linear.bias is not None)


def test_scores_start_as_cosines_with_the_prototypes():
    head = PrototypeHead(6, 8, 4, prototypes=10, layers=3)
    token = torch.randn(5, 6)
    expected = F.normalize(head.mlp(token), dim=1) @ F.normalize(head.prototypes.weight, dim=1).T
    torch.testing.assert_close(head(token), expected)
    assert head(token).abs().max() <= 1 + 1e-6


def test_the_prototypes_scale_is_trained_and_their_length_is_not():
    head = PrototypeHead(6, 8, 4, prototypes=10, layers=3)
    scale, direction = (
        head.prototypes.parametrizations.weight.original0,
        head.prototypes.parametrizations.weight.original1,
    )
    assert scale.shape == (10, 1)
    assert torch.equal(scale, torch.ones(10, 1))
    assert scale.requires_grad
    token = torch.randn(5, 6)
    before = head(token)
    with torch.no_grad():
        direction.mul_(3)
        torch.testing.assert_close(head(token), before)
        scale.mul_(3)
        torch.testing.assert_close(head(token), 3 * before)


def test_no_token_is_an_empty_score():
    assert PrototypeHead(6, 8, 4, prototypes=10, layers=3)(torch.zeros(0, 6)).shape == (0, 10)


def test_the_bottleneck_is_normalised_in_fp32():
    """A bf16 length is off by up to 0.4 %, and the scores with it: 10 times that after the student's temperature."""
    head = PrototypeHead(6, 8, 4, prototypes=10, layers=1)
    lengths = []
    head.prototypes.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].norm(dim=1)))
    with torch.autocast("cpu", torch.bfloat16):
        head(torch.randn(50, 6))
    torch.testing.assert_close(lengths[0], torch.ones(50), rtol=0, atol=1e-6)
