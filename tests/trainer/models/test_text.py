import math
from typing import Any

import pytest
import torch
from torch import nn

from trainer.config import TextConfig
from trainer.models.text import Temperature, TextTower
from trainer.models.transformer import QuickGELU

SMALL = TextConfig(width=16, depth=2, heads=2)


def tower() -> TextTower:
    torch.manual_seed(0)
    return TextTower(SMALL, vocabulary=20, context=6, embedding=8)


def test_the_feature_is_that_of_the_end():
    """The end is the largest number. What follows it is not seen by it: the tower looks back only."""
    one, two = torch.tensor([[18, 3, 4, 19, 0, 0]]), torch.tensor([[18, 3, 4, 19, 7, 7]])
    text = tower()
    assert torch.equal(text(one), text(two))
    assert not torch.allclose(text(one), text(torch.tensor([[18, 4, 3, 19, 0, 0]])))
    torch.testing.assert_close(text(one), text(one[:, :4]))


def test_one_block_by_hand():
    """Numbers 1 and 2, the end, are (0, 0, 3) and (2, 1, 0); their LayerNorms (-0.7071, -0.7071, 1.4142) and
    (1.2247, 0, -1.2247). With queries and keys of 0 the end attends to both alike; values are what came, and their mean
    is added: (2.2588, 0.6464, 0.0947). The MLP is 0. The last norm gives (1.3710, -0.3851, -0.9859), of which the
    projection takes the sum of the first two."""
    text = TextTower(TextConfig(width=3, depth=1, heads=1), vocabulary=3, context=2, embedding=1)
    block: Any = text.transformer.resblocks[0]
    with torch.no_grad():
        for zero in (text.positional_embedding, block.attn.in_proj_weight, block.mlp.c_proj.weight):
            zero.zero_()
        block.mlp.c_proj.bias.zero_()
        text.token_embedding.weight.copy_(torch.tensor([[9.0, 9.0, 9.0], [0.0, 0.0, 3.0], [2.0, 1.0, 0.0]]))
        block.attn.in_proj_weight[6:] = torch.eye(3)
        block.attn.out_proj.weight.copy_(torch.eye(3))
        text.text_projection.copy_(torch.tensor([[1.0], [1.0], [0.0]]))
        feature = text(torch.tensor([[1, 2]]))
    assert feature.item() == pytest.approx(0.9859, abs=2e-4)


def test_parameters_have_openais_names_and_spreads():
    torch.manual_seed(0)
    text = TextTower(TextConfig(width=64, depth=2, heads=1), 500, 32, 32)
    parameters = dict(text.named_parameters())
    spreads = {
        "token_embedding.weight": 0.02,
        "positional_embedding": 0.01,
        "text_projection": 64**-0.5,
        "transformer.resblocks.0.attn.in_proj_weight": 64**-0.5,
        "transformer.resblocks.1.attn.out_proj.weight": 64**-0.5 * 4**-0.5,
        "transformer.resblocks.1.mlp.c_fc.weight": 128**-0.5,
        "transformer.resblocks.0.mlp.c_proj.weight": 64**-0.5 * 4**-0.5,
    }
    for name, spread in spreads.items():
        assert parameters[name].std().item() == pytest.approx(spread, rel=0.1), name
    assert "transformer.resblocks.0.ln_1.weight" in parameters
    assert "ln_final.bias" in parameters


def test_a_block_written_out():
    """Attention of the normed tokens to those before, the heads side by side; then the MLP."""
    block: Any = tower().transformer.resblocks[0]
    token = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(1))
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    query, key, value = nn.functional.linear(block.ln_1(token), block.attn.in_proj_weight, block.attn.in_proj_bias)[
        0
    ].chunk(3, dim=1)
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        score = query[:, head] @ key[:, head].T / math.sqrt(8)
        heads.append(score.masked_fill(hidden, -math.inf).softmax(1) @ value[:, head])
    seen = token + block.attn.out_proj(torch.cat(heads, 1))
    expected = seen + block.mlp.c_proj(nn.functional.gelu(block.mlp.c_fc(block.ln_2(seen))))
    torch.testing.assert_close(block(token, hidden), expected)


def test_quick_gelu_by_hand():
    assert QuickGELU()(torch.tensor(1.0)).item() == pytest.approx(1 / (1 + math.exp(-1.702)))


def slope(log_scale: float, upstream: float) -> tuple[float, float]:
    """The temperature, and the gradient of the logarithm of its scale."""
    temperature = Temperature(1.0, largest=100.0)
    with torch.no_grad():
        temperature.log_scale.fill_(log_scale)
    value = temperature()
    (value * upstream).backward()
    assert temperature.log_scale.grad is not None
    return value.item(), temperature.log_scale.grad.item()


def test_the_temperature_is_one_over_the_scale():
    """Scale e: temperature 1/e, and its slope by the logarithm of the scale is -1/e."""
    value, gradient = slope(1.0, upstream=1.0)
    assert (value, gradient) == pytest.approx((1 / math.e, -1 / math.e))


def test_the_scale_has_a_largest_value_in_the_gradient_too():
    """Beyond scale 100 the temperature is 1/100. A loss that wants more of it has no slope left; one that wants less
    has, so that the scale does not stick. A loss that rises with the temperature wants it lower: the scale higher."""
    value, gradient = slope(math.log(120.0), upstream=1.0)
    assert value == pytest.approx(0.01)
    assert gradient == 0
    _, gradient = slope(math.log(120.0), upstream=-1.0)
    assert gradient == pytest.approx(0.01)
