import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from config import ConfigError
from trainer.config import ModelConfig, ObjectiveConfig, SynCLRConfig
from trainer.distributed import Gather, Single
from trainer.objectives import OBJECTIVES, build
from trainer.objectives.synclr import SynCLR

MODEL = ModelConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2, drop_path=0.0)
SMALL = SynCLRConfig(projector_hidden=24, embedding=16, prototypes=20, ibot_hidden=24, ibot_bottleneck=8)
STEPS = 100
CAPTIONS, VIEWS, LOCAL = 4, 3, 2
TOKENS = 16


def objective(gather: Gather | None = None, model: ModelConfig = MODEL, **changes: object) -> SynCLR:
    """A small one, its weights from seed 0."""
    torch.manual_seed(0)
    return SynCLR(SMALL.model_copy(update=changes), model, gather or Single(), STEPS)


def batch(captions: slice = slice(CAPTIONS)) -> dict[str, Tensor]:
    """The same batch of 4 captions at every call, or the part of it that belongs to some of them. Three crops are
    masked, two of them of captions 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    crops = torch.randn(VIEWS, CAPTIONS, 3, 32, 32, generator=generator)
    local = torch.randn(LOCAL, VIEWS, CAPTIONS, 3, 16, 16, generator=generator)
    mask = torch.zeros(VIEWS, CAPTIONS, TOKENS, dtype=torch.bool)
    for view, caption, first in ((0, 0, 0), (2, 1, 5), (1, 3, 8)):
        mask[view, caption, first : first + 8] = True
    return {
        "global_crops": crops[:, captions].flatten(0, 1),
        "local_crops": local[:, :, captions].flatten(0, 2),
        "labels": torch.tensor([40, 10, 30, 20])[captions],
        "mask": mask[:, captions].flatten(0, 1),
    }


def share(gather: Gather, head_norm: str = "layer") -> dict[str, Tensor]:
    """Loss, metrics and gradients of this rank's captions, in float64, after one step that moved the teacher."""
    ours = objective(gather, head_norm=head_norm)
    ours.modules().double()
    with torch.no_grad():
        for parameter in ours.modules().student.parameters():
            parameter.mul_(1.05)
    ours.after_step(30)
    each = CAPTIONS // gather.world
    part = batch(slice(gather.rank * each, (gather.rank + 1) * each))
    loss, metrics = ours.loss(
        {name: value.double() if value.is_floating_point() else value for name, value in part.items()}
    )
    loss.backward()
    gradients = {name: p.grad for name, p in ours.modules().named_parameters() if p.grad is not None}
    return {"loss": loss.detach()} | metrics | gradients


def share_with_batch_norm(gather: Gather) -> dict[str, Tensor]:
    """The same, with heads whose BatchNorm spans the captions of all ranks."""
    return share(gather, "batch")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", [share, share_with_batch_norm])
def test_two_processes_give_the_loss_and_the_gradients_of_one(share, on_ranks):
    """The batch's four captions on one process, or two on each of two; the masks fall unevenly."""
    whole, parts = share(Single()), on_ranks(share, 2)
    assert whole.keys() >= {f"student.{name}" for name, _ in objective().modules().student.named_parameters()}
    for name, expected in whole.items():
        mean = torch.stack([part[name] for part in parts]).mean(0)
        torch.testing.assert_close(mean, expected, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("exclude", [False, True])
def test_the_loss_is_its_parts_written_out(exclude):
    """Once more, with loops over anchors and tokens in place of tiles and masks, from the same networks. Local crops
    come crop by crop, so local anchor i is of image i % crops, whose key it keeps unless `exclude_same_image`."""
    ours, part = objective(exclude_same_image=exclude), batch()
    loss, metrics = ours.loss(part)
    student, teacher = ours.modules().student, ours.modules().teacher
    seen, whole = student["backbone"](part["global_crops"], part["mask"]), teacher["backbone"](part["global_crops"])
    local = student["backbone"](part["local_crops"])
    keys = F.normalize(teacher["projector"](whole.cls))
    crops = VIEWS * CAPTIONS

    def anchors_loss(cls: Tensor, own_excluded: bool) -> Tensor:
        losses = []
        for i, anchor in enumerate(F.normalize(student["predictor"](student["projector"](cls)))):
            candidates = [k for k in range(crops) if not (own_excluded and k == i % crops)]
            log_p = (keys[candidates] @ anchor / SMALL.temperature).log_softmax(0)
            positives = [n for n, k in enumerate(candidates) if k % CAPTIONS == i % CAPTIONS]
            assert len(positives) == (VIEWS - 1 if own_excluded else VIEWS)
            losses.append(-log_p[positives].mean())
        return torch.stack(losses).mean()

    rows = [(crop, token) for crop in range(crops) for token in range(TOKENS) if part["mask"][crop, token]]
    teacher_score = torch.stack([teacher["prototypes"](whole.patches[crop, token]) for crop, token in rows]) / 0.04
    target = (teacher_score.double() - teacher_score.max()).exp()
    for _ in range(3):
        target = target / target.sum(0)
        target = target / target.sum(1, keepdim=True)
    student_score = torch.stack([student["prototypes"](seen.patches[crop, token]) for crop, token in rows])
    cross_entropy = -(target * (student_score / 0.1).log_softmax(1)).sum(1)
    ibot = cross_entropy.view(3, 8).mean(1).mean().float()

    torch.testing.assert_close(metrics["loss/contrastive_global"], anchors_loss(seen.cls, own_excluded=True))
    torch.testing.assert_close(metrics["loss/contrastive_local"], anchors_loss(local.cls, own_excluded=exclude))
    torch.testing.assert_close(metrics["loss/ibot"], ibot)
    torch.testing.assert_close(
        loss, metrics["loss/contrastive_global"] + metrics["loss/contrastive_local"] + metrics["loss/ibot"]
    )


def test_state_moves_only_in_after_step():
    ours, part = objective(), batch()
    before = copy.deepcopy(ours.modules().state_dict())
    given = copy.deepcopy(part)
    first, _ = ours.loss(part)
    first.backward()
    second, _ = ours.loss(part)
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in ours.modules().state_dict().items())
    assert all(torch.equal(value, part[name]) for name, value in given.items())

    ours.after_step(0)
    assert ours.modules().step.item() == 1


def test_the_teacher_follows_by_the_cosine():
    """At step 50 of 100 the momentum is 0.997: a student 1 above its teacher pulls it up by 0.003."""
    ours = objective()
    networks = ours.modules()
    teacher = {name: value.clone() for name, value in networks.teacher.named_parameters()}
    with torch.no_grad():
        for value in networks.student.parameters():
            value.add_(1.0)
    ours.after_step(50)
    for name, value in networks.teacher.named_parameters():
        torch.testing.assert_close(value, teacher[name] + 0.003, rtol=0, atol=1e-6)


def test_the_teacher_starts_as_the_student():
    networks = objective().modules()
    student = dict(networks.student.named_parameters())
    teacher = dict(networks.teacher.named_parameters())
    assert student.keys() - teacher.keys() == {name for name in student if name.startswith("predictor.")}
    assert all(torch.equal(value, student[name]) for name, value in teacher.items())
    assert not any(value is student[name] for name, value in teacher.items())


def test_the_teacher_is_whole_even_in_training():
    """No stochastic depth, no gradient: its backbone gives the same twice, while the student's does not."""
    ours = objective(model=MODEL.model_copy(update={"drop_path": 0.9}))
    networks = ours.modules().train()
    image = batch()["global_crops"]
    assert torch.equal(networks.teacher["backbone"](image).cls, networks.teacher["backbone"](image).cls)
    assert not torch.equal(networks.student["backbone"](image).cls, networks.student["backbone"](image).cls)
    loss, _ = ours.loss(batch())
    loss.backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in networks.teacher.parameters())


def test_every_parameter_of_the_student_learns():
    ours = objective()
    ours.loss(batch())[0].backward()
    idle = [name for name, p in ours.modules().student.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_the_teacher_s_temperature_is_of_the_step_that_a_checkpoint_says():
    ours = objective(teacher_temperature_steps=10)
    assert ours.loss(batch())[1]["loss/teacher_temperature"].item() == pytest.approx(0.04)
    ours.after_step(4)
    resumed = objective(teacher_temperature_steps=10)
    resumed.modules().load_state_dict(ours.modules().state_dict())
    assert resumed.loss(batch())[1]["loss/teacher_temperature"].item() == pytest.approx(0.055)


def test_the_step_survives_a_cast():
    """bf16 has no 257."""
    ours = objective()
    ours.after_step(256)
    assert ours.modules().bfloat16().step.item() == 257


def test_a_local_crop_keeps_its_own_image_by_default():
    assert SynCLRConfig().exclude_same_image is False


def test_labels_are_the_step_s_own():
    """A second batch of the same shape, in which two captions are the same: not the first one's mask again."""
    ours, part = objective(), batch()
    first = ours.loss(part)[1]["loss/contrastive_local"]
    again = part | {"labels": torch.tensor([40, 40, 30, 20])}
    second = ours.loss(again)[1]["loss/contrastive_local"]
    assert second != first
    assert objective().loss(again)[1]["loss/contrastive_local"] == second


def test_one_image_per_caption_is_counted_and_finite():
    """Global crops then have no positive: 0, and 4 of them. Local crops have their own image's."""
    part = {name: value[: len(value) // VIEWS] if name != "labels" else value for name, value in batch().items()}
    part["local_crops"] = batch()["local_crops"][:CAPTIONS]
    ours = objective()
    loss, metrics = ours.loss(part)
    loss.backward()
    assert metrics["loss/anchors_without_positive"].item() == CAPTIONS
    assert metrics["loss/contrastive_global"].item() == 0
    assert metrics["loss/contrastive_local"].item() > 0
    assert all(p.grad.isfinite().all() for p in ours.modules().student.parameters() if p.grad is not None)


def test_without_local_crops_their_term_is_0():
    part = batch()
    del part["local_crops"]
    loss, metrics = objective().loss(part)
    assert metrics["loss/contrastive_local"].item() == 0
    torch.testing.assert_close(loss, metrics["loss/contrastive_global"] + metrics["loss/ibot"])


def test_weights():
    (plain, metrics), (weighed, _) = (
        objective().loss(batch()),
        objective(contrast_weight=2.0, ibot_weight=0.5).loss(batch()),
    )
    contrastive = metrics["loss/contrastive_global"] + metrics["loss/contrastive_local"]
    torch.testing.assert_close(weighed, 2 * contrastive + 0.5 * metrics["loss/ibot"])
    torch.testing.assert_close(plain, contrastive + metrics["loss/ibot"])


def test_a_term_that_is_off_has_no_head_and_reads_nothing():
    contrastive = objective(ibot_weight=0.0)
    assert set(contrastive.modules().student) == {"backbone", "projector", "predictor"}
    assert set(contrastive.batch_keys) == {"global_crops", "local_crops", "labels"}
    _, metrics = contrastive.loss({name: batch()[name] for name in contrastive.batch_keys})
    assert "loss/ibot" not in metrics

    ibot = objective(contrast_weight=0.0)
    assert set(ibot.modules().student) == {"backbone", "prototypes"}
    loss, metrics = ibot.loss({name: batch()[name] for name in ibot.batch_keys})
    assert torch.equal(loss.detach(), metrics["loss/ibot"])


def test_nothing_to_learn_is_said_so():
    with pytest.raises(ConfigError, match=r"contrast_weight and objective\.ibot_weight are 0"):
        objective(contrast_weight=0.0, ibot_weight=0.0)


@pytest.mark.parametrize("whose", ["teacher", "student"])
def test_the_encoder_is_the_backbone_of_the_one_asked_for(whose):
    ours = objective(encoder=whose)
    image = batch()["global_crops"]
    assert ours.encoder()(image).equal(ours.modules().get_submodule(whose)["backbone"](image).cls)
    assert ours.encoder().vit is ours.modules().get_submodule(whose)["backbone"]


def test_by_default_the_encoder_is_the_teacher_s():
    ours = objective()
    assert ours.encoder().vit is ours.modules().teacher["backbone"]


def test_autocast_to_bf16_stays_near_fp32():
    exact, _ = objective().loss(batch())
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = objective().loss(batch())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)


def test_metrics_are_numbers_without_a_graph():
    _, metrics = objective().loss(batch())
    assert set(metrics) == {
        "loss/contrastive_global",
        "loss/contrastive_local",
        "loss/ibot",
        "loss/anchors_without_positive",
        "loss/key_similarity",
        "loss/teacher_temperature",
    }
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())


def test_key_similarity_is_1_when_all_keys_are_the_same():
    part = batch()
    part["global_crops"] = part["global_crops"][:1].expand(VIEWS * CAPTIONS, -1, -1, -1)
    assert objective().loss(part)[1]["loss/key_similarity"].item() == pytest.approx(1)
    assert objective().loss(batch())[1]["loss/key_similarity"].item() < 1


def test_the_table_of_objectives_answers_an_unknown_name_with_the_known_ones():
    assert OBJECTIVES["synclr"] is SynCLR
    assert isinstance(build(SMALL, MODEL, Single(), STEPS), SynCLR)
    with pytest.raises(ConfigError, match=r"no objective 'moco'; known: clip, .*, synclr$"):
        build(ObjectiveConfig(kind="moco"), MODEL, Single(), STEPS)
