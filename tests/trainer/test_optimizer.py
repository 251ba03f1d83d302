import torch
from torch import nn

from trainer.config import ModelConfig, OptimizerConfig, SynCLRConfig
from trainer.distributed import Single
from trainer.objectives.synclr import Networks
from trainer.optimizer import build_optimizer, param_groups

MODEL = ModelConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2)
SMALL = SynCLRConfig(projector_hidden=8, embedding=4, prototypes=6, ibot_hidden=8, ibot_bottleneck=4)


def names(networks: nn.Module, decay: bool) -> set[str]:
    name = {id(parameter): name for name, parameter in networks.named_parameters()}
    return {
        name[id(parameter)]
        for group in param_groups(networks)
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
