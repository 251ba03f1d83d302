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
from trainer.losses.ibot import masked_token_loss, masked_tokens, sinkhorn
from trainer.models.ema import follow
from trainer.models.heads import PrototypeHead, contrastive_head
from trainer.models.vit import Encoder, Tokens, ViT
from trainer.objectives.protocol import Comparing, Embedded
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


class SynCLR(Comparing):
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
        return self.compare(self.embed(batch))

    def shared(self) -> list[nn.Parameter]:
        return []

    def after_step(self, step: int) -> None:
        """The teacher follows the student, and the step counts as done."""
        follow(self.networks.teacher, self.networks.student, ema_momentum(self.config, step, self.steps))
        self.networks.step.fill_(step + 1)

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        """Anchors and keys of crops; scores of masked patches, the student's and (without gradient) the teacher's."""
        config, student, teacher = self.config, self.networks.student, self.networks.teacher
        image_G3HW = batch["global_crops"]
        mask_GN = batch["mask"] if config.ibot_weight else None
        masked = masked_tokens(mask_GN) if mask_GN is not None else None

        seen: Tokens = student["backbone"](image_G3HW, mask_GN)
        with torch.no_grad():
            whole: Tokens = teacher["backbone"](image_G3HW)

        embedded: dict[str, Tensor] = {}
        if config.contrast_weight:
            embedded |= self._anchors(batch, seen.cls)
            with torch.no_grad():
                embedded["key"] = teacher["projector"](whole.cls)
        if masked is not None:
            with torch.no_grad():
                embedded["whole"] = teacher["prototypes"](whole.patches.flatten(0, 1)[masked.tokens])
            embedded["seen"] = student["prototypes"](seen.patches.flatten(0, 1)[masked.tokens])
            embedded |= {"weight": masked.weights, "masked": masked.crops}
        return embedded

    def compare(self, embedded: Embedded) -> tuple[Tensor, Metrics]:
        config = self.config
        total = torch.zeros((), device=next(iter(embedded.values())).device)
        metrics: Metrics = {}
        if config.contrast_weight:
            global_loss, local_loss, more = self._contrastive(embedded)
            total = total + config.contrast_weight * (global_loss + local_loss)
            metrics |= {"loss/contrastive_global": global_loss, "loss/contrastive_local": local_loss, **more}
        if config.ibot_weight:
            ibot_loss, more = self._ibot(embedded)
            total = total + config.ibot_weight * ibot_loss
            metrics |= {"loss/ibot": ibot_loss, **more}
        return total, {name: value.detach() for name, value in metrics.items()}

    def _anchors(self, batch: Mapping[str, Tensor], seen_GD: Tensor) -> dict[str, Tensor]:
        """Global and local anchors, which pass through the heads together, by the global crop of the same image."""
        student, label_B, crops = self.networks.student, batch["labels"], len(seen_GD)
        cls_AD = seen_GD
        if "local_crops" in batch:
            local: Tokens = student["backbone"](batch["local_crops"])
            cls_AD = torch.cat([seen_GD, local.cls])
        anchor_AE = student["predictor"](student["projector"](cls_AD))
        return {
            "global": anchor_AE[:crops],
            "local": anchor_AE[crops:].unflatten(0, (-1, crops)).transpose(0, 1),  # [G, L, E]
            "label": label_B.repeat(crops // len(label_B)),
        }

    def _contrastive(self, embedded: Embedded) -> tuple[Tensor, Tensor, Metrics]:
        """L_con of the global and of the local crops. Without local crops theirs is 0."""
        global_GE, local_GLE, label_G = embedded["global"], embedded["local"], embedded["label"]
        crops = len(global_GE)
        anchor_AE = torch.cat([global_GE, local_GLE.transpose(0, 1).flatten(0, 1)])
        label_A = label_G.repeat(1 + local_GLE.shape[1])
        own_A = own_keys(crops, len(anchor_AE), self.gather, label_A.device)
        if not self.config.exclude_same_image:
            own_A[crops:] = NO_KEY
        key_KE, label_K = self.gather.all_gather(embedded["key"].detach()), self.gather.all_gather(label_G)
        loss_A, positives_A = multi_positive(anchor_AE, key_KE, label_A, label_K, own_A, self.config.temperature)
        metrics = {
            "loss/anchors_without_positive": self.gather.all_reduce_sum((positives_A == 0).sum()).float(),
            # Length of the mean key: near 1 the keys of all images are the same, and nothing is learned.
            "loss/key_similarity": F.normalize(key_KE.float(), dim=1).mean(0).norm(),
        }
        local_A = loss_A[crops:]
        return loss_A[:crops].mean(), local_A.sum() / max(1, local_A.shape[0]), metrics

    def _ibot(self, embedded: Embedded) -> tuple[Tensor, Metrics]:
        """L_ibot. Only masked patches went through the heads."""
        config = self.config
        temperature = teacher_temperature(config, self.networks.step)
        target_MK = sinkhorn(embedded["whole"], temperature, config.sinkhorn_iterations, self.gather)
        loss = masked_token_loss(
            embedded["seen"], target_MK, embedded["weight"], embedded["masked"], config.student_temperature, self.gather
        )
        return loss, {"loss/teacher_temperature": temperature}
