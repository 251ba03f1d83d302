"""Features are those of the frozen encoder, on images normalised as in training."""

import torch
from torch import Tensor, nn

from tests.trainer.evaluation.toys import MODEL
from trainer.evaluation.features import FromPixels, RawPixels, extract, random_encoder


class Mean(nn.Module):
    """Colour means: two numbers are enough to see a normalisation."""

    def forward(self, image: Tensor) -> Tensor:
        assert not self.training
        return image.mean((2, 3))


def test_pixels_are_normalised_with_the_trainings_mean_and_deviation() -> None:
    """Pixels of 255 are 1.0: (1 - 0.5) / 0.25 = 2; pixels of 51 are 0.2: (0.2 - 0.5) / 0.25 = -1.2."""
    white, dark = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), torch.full((1, 3, 2, 2), 51, dtype=torch.uint8)
    batches = [(white, {"shape": torch.tensor([3])}), (dark, {"shape": torch.tensor([1])})]
    sizes: list[int] = []
    encoder = FromPixels(Mean().train(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    found = extract({"mean": encoder}, batches, "cpu", sizes.append)["mean"]
    torch.testing.assert_close(found.vectors, torch.tensor([[2.0] * 3, [-1.2] * 3]))
    assert found.labels["shape"].tolist() == [3, 1]
    assert sizes == [1, 1]


def test_the_batch_size_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (7, 3, 32, 32), generator=generator, dtype=torch.uint8)
    label = torch.zeros(7, dtype=torch.int64)
    encoders = {"random": random_encoder(MODEL, 0)}
    sizes: list[int] = []
    whole, parts = (
        extract(
            encoders,
            [(i, {"shape": n}) for i, n in zip(images.split(b), label.split(b), strict=True)],
            "cpu",
            sizes.append,
        )
        for b in (7, 2)
    )
    torch.testing.assert_close(whole["random"].vectors, parts["random"].vectors)
    assert not whole["random"].vectors.requires_grad


def test_a_random_encoder_depends_on_its_seed_and_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = (random_encoder(MODEL, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_raw_pixels_are_the_image_made_small() -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, :2, :2] = 1
    vector = RawPixels()(image)
    assert vector.shape == (1, 768)
    assert vector[0, 0] == 1
    assert vector[0, 1:].abs().max() == 0
