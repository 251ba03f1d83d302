"""open_clip's models with random weights, as small as their configs allow, and files as they are published."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import TextConfig
from trainer.models.clip import Architecture, ResNetForm, ViTForm

with warnings.catch_warnings():  # its import asks for what torch no longer likes
    warnings.simplefilter("ignore")
    import open_clip.model

TEXT = TextConfig(width=64, depth=2, heads=1)
SMALL = {
    "resnet": Architecture(ResNetForm((1, 2, 1, 1), 16), TEXT, 32, image_size=64, vocabulary=100, context=9),
    "vit": Architecture(ViTForm(16, 128, 2, 2), TEXT, 32, image_size=64, vocabulary=100, context=9),
}


def theirs(form: Architecture, seed: int = 0) -> Any:
    """open_clip's model of that form. Norms and biases are random too, so that none of them can be forgotten."""
    image = form.image
    layers = image.layers if isinstance(image, ResNetForm) else image.depth
    vision: dict[str, Any] = {"layers": layers, "width": image.width, "image_size": form.image_size}
    if isinstance(image, ViTForm):
        vision |= {"patch_size": image.patch, "head_width": image.width // image.heads}
    text = {"context_length": form.context, "vocab_size": form.vocabulary, "width": form.text.width}
    text |= {"heads": form.text.heads, "layers": form.text.depth}
    torch.manual_seed(seed)
    model = open_clip.model.CLIP(form.embedding, vision, text, quick_gelu=form.text.quick_gelu)
    shake(model)
    return model.eval()


def shake(model: nn.Module) -> None:
    """Moves every parameter and statistic off the values that it starts from."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.1 if parameter.ndim < 2 else 0.01))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))


def inputs(form: Architecture, count: int = 2) -> tuple[Tensor, Tensor]:
    """Images, and texts that end at different places."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(count, 3, form.image_size, form.image_size, generator=generator)
    token = torch.randint(1, form.vocabulary - 2, (count, form.context), generator=generator)
    token[:, 0] = form.vocabulary - 2
    for row in range(count):
        end = form.context - 1 - row
        token[row, end], token[row, end + 1 :] = form.vocabulary - 1, 0
    return image, token
