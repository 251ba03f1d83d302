import pytest
import torch
from torch import nn

from tests.trainer.objectives.small import CONFIGS, small
from trainer.config import DecayRule, ModelConfig, OptimizerConfig, SynCLRConfig
from trainer.distributed import Single
from trainer.objectives.synclr import Networks
from trainer.optimizer import LEFT_OUT, build_optimizer, param_groups

MODEL = ModelConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2)
SMALL = SynCLRConfig(projector_hidden=8, embedding=4, prototypes=6, ibot_hidden=8, ibot_bottleneck=4)


def names(networks: nn.Module, decay: bool, rule: DecayRule = "all") -> set[str]:
    name = {id(parameter): name for name, parameter in networks.named_parameters()}
    return {
        name[id(parameter)]
        for group in param_groups(networks, rule)
        if group["decay"] is decay
        for parameter in group["params"]
    }


def test_matrices_and_tokens_decay_and_vectors_do_not():
    networks = Networks(SMALL, MODEL, Single())
    decayed, kept = names(networks, True), names(networks, False)
    backbone = "student.backbone."
    assert {backbone + name for name in ("pos_embed", "cls_token", "mask_token", "patch_embed.proj.weight")} <= decayed
    assert "student.prototypes.prototypes.parametrizations.weight.original0" in decayed, "the weight norm's scale"
    assert {backbone + name for name in ("norm.weight", "norm.bias", "blocks.0.attn.qkv.bias")} <= kept
    assert {backbone + "blocks.0.attn.qkv.weight", "student.predictor.0.weight"} <= decayed
    assert all(
        name.endswith(("bias", "norm.weight", "norm1.weight", "norm2.weight", ".1.weight", ".4.weight"))
        for name in kept
    )


EMBEDDINGS = {"backbone.cls_token", "backbone.pos_embed", "text.positional_embedding", "text.token_embedding.weight"}


@pytest.mark.parametrize(
    ("rule", "decaying"),
    [
        ("all", EMBEDDINGS),
        ("not_class", EMBEDDINGS - {"backbone.cls_token"}),
        ("not_places", {"text.token_embedding.weight"}),
        ("kernels", set()),
    ],
)
def test_rules_differ_in_embeddings(rule: DecayRule, decaying: set[str]):
    """Nothing else of CLIP's two towers depends on the rule."""
    networks = small("clip").modules()
    assert names(networks, True, rule) & EMBEDDINGS == decaying
    assert names(networks, True, rule) - EMBEDDINGS == names(networks, True) - EMBEDDINGS
    assert {"temperature.log_scale", "text.ln_final.weight", "text.ln_final.bias"} <= names(networks, False, rule)
    assert {"text.text_projection", "image_projection.weight", "backbone.blocks.0.attn.qkv.weight"} <= names(
        networks, True, rule
    )


def test_the_biases_of_a_text_tower_do_not_decay():
    """Those of its attention end in `in_proj_bias`; SigLIP's bias of the logits is one number."""
    for rule in LEFT_OUT:
        assert not [name for name in names(small("siglip").modules(), True, rule) if "bias" in name]


def test_each_objective_has_its_papers_rule():
    rules = {name: config.decay for name, config in CONFIGS.items() if " " not in name}
    expected: dict[str, DecayRule] = {
        "synclr": "all",
        "stablerep": "all",
        "simclr": "all",
        "supervised": "not_places",
        "clip": "not_places",
        "siglip": "kernels",
        "declip": "all",
        "superclass": "not_class",
    }
    assert expected.items() <= rules.items()


def test_every_parameter_of_the_student_is_in_one_group_and_none_of_the_teacher_s():
    networks = Networks(SMALL, MODEL, Single())
    decayed, kept = names(networks, True), names(networks, False)
    assert not decayed & kept
    assert decayed | kept == {f"student.{name}" for name, _ in networks.student.named_parameters()}


def test_an_empty_group_is_left_out():
    assert [group["decay"] for group in param_groups(nn.LayerNorm(3))] == [False]


def test_the_paper_s_adamw_and_a_group_that_the_loop_can_tell():
    optimizer = build_optimizer(param_groups(nn.Linear(2, 2)), OptimizerConfig())
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [(group["decay"], group["lr"], group["betas"], group["eps"]) for group in optimizer.param_groups] == [
        (True, 0.0, (0.9, 0.999), 1e-8),
        (False, 0.0, (0.9, 0.999), 1e-8),
    ]
