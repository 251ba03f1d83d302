"""SynCLR: images painted from one caption attract each other ("Learning Vision from Models Rivals Learning Vision from
Data", Tian et al. 2023, Sec. 3.3 and Table 12).

A student sees global crops, half of them with half of their patches masked, and local crops. A teacher, the moving
average of the student, sees the global crops whole. Three terms:

    L = contrast_weight * (L_con(global) + L_con(local)) + ibot_weight * L_ibot                                  (Eq. 4)

    L_con   every student crop against the teacher's global crops of all ranks; all images of its caption are positives
            (losses/contrastive.py). A global crop leaves out the teacher's view of its own crop, which it would match
            by its pixels; a local crop keeps it. The mean over the anchors, for global and local crops apart.
    L_ibot  at the masked patches, the student against the teacher's Sinkhorn-Knopp targets (losses/ibot.py).

    student   backbone > projector > predictor   and   backbone > prototypes   (one pass serves both terms)
    teacher   backbone > projector               and   backbone > prototypes   (no gradient, no stochastic depth)
    after each step   teacher = m * teacher + (1 - m) * student, m from 0.994 to 1 on a cosine

Where paper and released code differ, the paper is followed (temperature 0.08, 65536 prototypes, weights 1 and 1).
Where the paper is silent, the code is (heads, normaliser of L_ibot, trained scale of the prototypes, decayed groups).
What deviates from both:
  * the positive mask is computed at every step (the code keeps one by batch size, which goes stale);
  * an anchor without a positive counts as 0 and is counted (there: not a number);
  * Sinkhorn-Knopp works on logarithms (there: exponentials, which overflow once the trained scale passes 3.5);
  * the moving average follows optimiser steps (there: micro-batches).

The encoder that is evaluated and exported is the teacher's backbone: neither paper nor code says which of the two the
published numbers are of, and the moving average is what iBOT and DINOv2, whose targets these are, evaluate.
`encoder="student"` takes the other.

Shapes: B captions of this rank, V images per caption, G = V * B global crops (for view: for caption), L local crops per
image (for crop: for view: for caption), N patches of a global crop, M masked patches, D width, E embedding, K keys of
all ranks, A = G + L * G anchors.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import ConfigError
from trainer.config import ModelConfig, SynCLRConfig
from trainer.distributed import Gather
from trainer.losses.contrastive import NO_KEY, multi_positive, own_keys
from trainer.losses.ibot import Masked, masked_token_loss, masked_tokens, sinkhorn
from trainer.models.ema import follow
from trainer.models.heads import PrototypeHead, contrastive_head
from trainer.models.vit import Encoder, Tokens, ViT
from trainer.schedules import ema_momentum, teacher_temperature

Metrics = dict[str, Tensor]


class Networks(nn.Module):
    """Student, teacher and the number of steps done: all that a checkpoint holds of this objective."""

    step: Tensor

    def __init__(self, config: SynCLRConfig, model: ModelConfig, gather: Gather) -> None:
        super().__init__()
        batch_of = gather if config.head_norm == "batch" else None
        self.student = branch(config, model, model.drop_path, batch_of)
        if config.contrast_weight:
            self.student["predictor"] = contrastive_head(
                config.embedding, config.projector_hidden, config.embedding, config.predictor_layers, batch_of
            )
        self.teacher = branch(config, model, 0.0, batch_of).requires_grad_(False)
        follow(self.teacher, self.student, momentum=0.0)
        # An integer, so that no cast to another precision touches it.
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.train()

    def train(self, mode: bool = True) -> "Networks":
        """The teacher stays in evaluation mode whatever the student is in."""
        super().train(mode)
        self.teacher.eval()
        return self


def branch(config: SynCLRConfig, model: ModelConfig, drop_path: float, batch_of: Gather | None) -> nn.ModuleDict:
    """What student and teacher have in common. A term that is switched off has no head; `batch_of`: the ranks that
    BatchNorm spans, None for LayerNorm."""
    modules: dict[str, nn.Module] = {"backbone": ViT(model, drop_path)}
    if config.contrast_weight:
        modules["projector"] = contrastive_head(
            model.width, config.projector_hidden, config.embedding, config.projector_layers, batch_of
        )
    if config.ibot_weight:
        modules["prototypes"] = PrototypeHead(
            model.width, config.ibot_hidden, config.ibot_bottleneck, config.prototypes, config.ibot_layers
        )
    return nn.ModuleDict(modules)


class SynCLR:
    """The objective. `steps` is the length of the run, over which the teacher's momentum rises."""

    def __init__(self, config: SynCLRConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        """Raises ConfigError if both terms are switched off."""
        if not config.contrast_weight and not config.ibot_weight:
            raise ConfigError("objective.contrast_weight and objective.ibot_weight are 0: there is nothing to learn")
        self.config, self.gather, self.steps = config, gather, steps
        self.networks = Networks(config, model, gather)
        self.batch_keys: tuple[str, ...] = ("global_crops", "labels")
        self.batch_keys += ("local_crops",) if config.contrast_weight else ()
        self.batch_keys += ("mask",) if config.ibot_weight else ()

    def modules(self) -> Networks:
        return self.networks

    def encoder(self) -> Encoder:
        return Encoder(getattr(self.networks, self.config.encoder)["backbone"])

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Metrics]:
        """The three terms for this rank's part of the batch (shapes: `trainer/batch.py`, names: `batch_keys`)."""
        config, student, teacher = self.config, self.networks.student, self.networks.teacher
        image_G3HW = batch["global_crops"]
        mask_GN = batch["mask"] if config.ibot_weight else None
        masked = masked_tokens(mask_GN) if mask_GN is not None else None

        seen: Tokens = student["backbone"](image_G3HW, mask_GN)
        with torch.no_grad():
            whole: Tokens = teacher["backbone"](image_G3HW)

        total = torch.zeros((), device=image_G3HW.device)
        metrics: Metrics = {}
        if config.contrast_weight:
            global_loss, local_loss, more = self._contrastive(batch, seen.cls, whole.cls)
            total = total + config.contrast_weight * (global_loss + local_loss)
            metrics |= {"loss/contrastive_global": global_loss, "loss/contrastive_local": local_loss, **more}
        if masked is not None:
            ibot_loss, more = self._ibot(masked, seen.patches, whole.patches)
            total = total + config.ibot_weight * ibot_loss
            metrics |= {"loss/ibot": ibot_loss, **more}
        return total, {name: value.detach() for name, value in metrics.items()}

    def after_step(self, step: int) -> None:
        """The teacher follows the student, and the step counts as done."""
        follow(self.networks.teacher, self.networks.student, ema_momentum(self.config, step, self.steps))
        self.networks.step.fill_(step + 1)

    def _contrastive(
        self, batch: Mapping[str, Tensor], seen_GD: Tensor, whole_GD: Tensor
    ) -> tuple[Tensor, Tensor, Metrics]:
        """L_con of the global and of the local crops. Without local crops theirs is 0."""
        student, teacher = self.networks.student, self.networks.teacher
        cls_AD = seen_GD
        if "local_crops" in batch:
            local: Tokens = student["backbone"](batch["local_crops"])
            cls_AD = torch.cat([seen_GD, local.cls])
        anchor_AE = student["predictor"](student["projector"](cls_AD))
        with torch.no_grad():
            key_KE = self.gather.all_gather(teacher["projector"](whole_GD))

        anchors, crops, label_B = cls_AD.shape[0], whole_GD.shape[0], batch["labels"]
        label_A = label_B.repeat(anchors // label_B.shape[0])
        own_A = own_keys(crops, anchors, self.gather, label_A.device)
        if not self.config.exclude_same_image:
            own_A[crops:] = NO_KEY
        label_K = self.gather.all_gather(label_A[:crops])
        loss_A, positives_A = multi_positive(anchor_AE, key_KE, label_A, label_K, own_A, self.config.temperature)
        metrics = {
            "loss/anchors_without_positive": self.gather.all_reduce_sum((positives_A == 0).sum()).float(),
            # Length of the mean key: near 1 the keys of all images are the same, and nothing is learned.
            "loss/key_similarity": F.normalize(key_KE.float(), dim=1).mean(0).norm(),
        }
        local_A = loss_A[crops:]
        return loss_A[:crops].mean(), local_A.sum() / max(1, local_A.shape[0]), metrics

    def _ibot(self, masked: Masked, seen_GND: Tensor, whole_GND: Tensor) -> tuple[Tensor, Metrics]:
        """L_ibot. Only masked patches go through the heads."""
        config = self.config
        temperature = teacher_temperature(config, self.networks.step)
        with torch.no_grad():
            whole_MK = self.networks.teacher["prototypes"](whole_GND.flatten(0, 1)[masked.tokens])
            target_MK = sinkhorn(whole_MK, temperature, config.sinkhorn_iterations, self.gather)
        seen_MK = self.networks.student["prototypes"](seen_GND.flatten(0, 1)[masked.tokens])
        loss = masked_token_loss(seen_MK, target_MK, masked, config.student_temperature, self.gather)
        return loss, {"loss/teacher_temperature": temperature}
