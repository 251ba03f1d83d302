import math

import pytest
import torch
from torch import Tensor

from trainer.distributed import Gather, Single
from trainer.losses.contrastive import NO_KEY, among, multi_positive, own_keys, sigmoid, symmetric

NONE = torch.tensor([NO_KEY])


def wave(rows: int, columns: int, shift: float) -> Tensor:
    """The golden inputs: sin(shift + 1.7 i + 0.31 j^2), in float64."""
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)
    return torch.sin(shift + 1.7 * i + 0.31 * j * j)


def share(gather: Gather, temperature: float = 0.1) -> dict[str, Tensor]:
    """Two captions of two images, one per rank if there are two ranks. Anchors pass through a weight, as through a
    network, so that gradients can be compared."""
    label_A = torch.tensor([0, 1]).repeat(6)
    label_K = torch.tensor([0, 1]).repeat(2)
    here_A, here_K = (label % gather.world == gather.rank for label in (label_A, label_K))
    weight = torch.eye(8, dtype=torch.float64, requires_grad=True)
    anchor, key, label = wave(12, 8, 0.3)[here_A] @ weight, wave(4, 8, 0.5)[here_K], label_A[here_A]
    crops = len(key)
    own = own_keys(crops, len(anchor), gather, label.device)
    own[crops:] = NO_KEY
    loss, _ = multi_positive(anchor, gather.all_gather(key), label, gather.all_gather(label[:crops]), own, temperature)
    (loss[:crops].mean() + loss[crops:].mean()).backward()
    assert weight.grad is not None
    return {"global": loss[:crops].mean().detach(), "local": loss[crops:].mean().detach(), "gradient": weight.grad}


def one(own: int, label: int = 0) -> tuple[Tensor, Tensor]:
    key = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    anchor, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([0, 0, 1])
    return multi_positive(anchor, key, torch.tensor([label]), labels, torch.tensor([own]), temperature=1.0)


def test_by_hand():
    """Anchor (1, 0) and keys (1, 0), (0, 1), (-1, 0), of which the first two are positives, at temperature 1: the
    logits are 1, 0, -1, the loss log(e + 1 + 1/e) - (1 + 0) / 2 = 1.407606 - 0.5."""
    loss, positives = one(own=NO_KEY)
    assert loss.item() == pytest.approx(math.log(math.e + 1 + 1 / math.e) - 0.5)
    assert positives.item() == 2


def test_by_hand_without_its_own_key():
    """The same without the first key, above and below the fraction: log(1 + 1/e) - 0 = 0.313262."""
    loss, positives = one(own=0)
    assert loss.item() == pytest.approx(math.log(1 + 1 / math.e))
    assert positives.item() == 1


@pytest.mark.parametrize(
    ("temperature", "expected_global", "expected_local"),
    [(0.1, 12.1089189680, 8.5295298173), (0.08, 15.1025760910, 10.5897718239)],
)
def test_golden_values(temperature, expected_global, expected_local):
    """From an independent computation in numpy, float64."""
    result = share(Single(), temperature)
    assert result["global"].item() == pytest.approx(expected_global, abs=1e-9)
    assert result["local"].item() == pytest.approx(expected_local, abs=1e-9)


@pytest.mark.timeout(900)
def test_two_processes_give_the_loss_and_gradient_of_one(on_ranks):
    """The ranks' means are the value of the whole batch. Were the own key's column not counted from the rank's first
    key, rank 1 would leave out a negative instead."""
    whole, parts = share(Single()), on_ranks(share, 2)
    for name, expected in whole.items():
        torch.testing.assert_close(
            torch.stack([part[name] for part in parts]).mean(0), expected, rtol=1e-12, atol=1e-12
        )


def test_own_keys_are_counted_from_the_rank_s_first_key():
    """Rank 2 has keys 8 to 11. Its 4 global crops come first, then 2 local crops of each image, crop by crop."""
    expected = [8, 9, 10, 11] * 3
    assert own_keys(4, 12, Single(world=4, rank=2), torch.device("cpu")).tolist() == expected


@pytest.mark.parametrize("tile", [2**24, 8])
def test_gradient(tile):
    """By finite differences in float64, in one tile and in tiles of two anchors; anchor 0 leaves out its own key."""
    key, own = wave(4, 3, 0.5), torch.tensor([0, NO_KEY, NO_KEY, 3, NO_KEY])
    labels, key_labels = torch.tensor([0, 1, 0, 1, 9]), torch.tensor([0, 1, 0, 1])

    def loss(anchor: Tensor) -> Tensor:
        return multi_positive(anchor, key, labels, key_labels, own, 0.5, tile)[0]

    assert torch.autograd.gradcheck(loss, [wave(5, 3, 0.3).requires_grad_()])


def test_tiles_change_neither_loss_nor_gradient_nor_count():
    results = []
    for tile in (2**24, 1, 12, 30):
        anchor = wave(7, 5, 0.3).requires_grad_()
        labels, key_labels = torch.arange(7) % 3, torch.arange(6) % 3
        own = torch.tensor([0, 1, 2, *[NO_KEY] * 4])
        loss, positives = multi_positive(anchor, wave(6, 5, 0.5), labels, key_labels, own, 0.1, tile)
        (gradient,) = torch.autograd.grad(loss.sum(), anchor)
        results.append((loss, gradient, positives))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-12, atol=1e-12)


def test_tiles_keep_no_logits_for_the_backward_pass():
    """64 anchors times 64 keys in tiles of 8 anchors: nothing as large as the 4096 logits is held."""
    largest = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    anchor, labels = wave(64, 8, 0.3).requires_grad_(), torch.arange(64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        multi_positive(anchor, wave(64, 8, 0.5), labels, labels, NONE.repeat(64), 0.1, tile=512)
    assert 0 < largest <= 64 * 8


def test_labels_are_compared_at_every_call():
    """The same shapes with other labels: keys 1 and 2 of `one` swap sides, log(e + 1 + 1/e) - (-1)."""
    assert one(own=NO_KEY, label=0)[0].item() == pytest.approx(math.log(math.e + 1 + 1 / math.e) - 0.5)
    assert one(own=NO_KEY, label=1)[0].item() == pytest.approx(math.log(math.e + 1 + 1 / math.e) + 1)


@pytest.mark.parametrize(("labels", "own"), [([5, 0], NO_KEY), ([0, 1], 0), ([0], 0)])
def test_an_anchor_without_a_positive_counts_zero_and_is_counted(labels, own):
    """No key has its label; its own key was the only positive; its own key was the only key."""
    anchor = torch.tensor([[1.0, 2.0]], requires_grad=True)
    label = 7 if own == NO_KEY else 0
    key = torch.eye(2)[: len(labels)]
    loss, positives = multi_positive(
        anchor, key, torch.tensor([label]), torch.tensor(labels), torch.tensor([own]), temperature=0.1
    )
    loss.sum().backward()
    assert anchor.grad is not None
    assert (loss.item(), positives.item(), anchor.grad.tolist()) == (0, 0, [[0, 0]])


def test_only_directions_matter():
    arguments = torch.arange(3), torch.arange(3), NONE.repeat(3), 0.1
    loss, _ = multi_positive(wave(3, 4, 0.3), wave(3, 4, 0.5), *arguments)
    scaled, _ = multi_positive(wave(3, 4, 0.3) * 7, wave(3, 4, 0.5) / 3, *arguments)
    torch.testing.assert_close(scaled, loss)


def test_keys_get_no_gradient():
    key = wave(3, 4, 0.5).requires_grad_()
    loss, _ = multi_positive(
        wave(3, 4, 0.3).requires_grad_(), key, torch.arange(3), torch.arange(3), NONE.repeat(3), 0.1
    )
    loss.sum().backward()
    assert key.grad is None


def test_half_precision_in_and_full_precision_inside():
    """Under autocast too: the loss of bf16 anchors is that of their exact values."""
    anchor, key = wave(5, 8, 0.3).bfloat16(), wave(5, 8, 0.5).bfloat16()
    arguments = torch.arange(5), torch.arange(5), NONE.repeat(5), 0.08
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = multi_positive(anchor, key, *arguments)
    exact, _ = multi_positive(anchor.double(), key.double(), *arguments)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)


def test_among_by_hand():
    """(1, 0) twice, label 0, and (0, 1) with label 1, at temperature 1. Each of the first two has the other as its
    positive (logit 1) and the third as a negative (0): log(e + 1) - 1 = 0.313262. The third has no positive: 0."""
    loss, positives = among(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]), 1.0)
    assert loss.tolist() == pytest.approx([math.log(math.e + 1) - 1, math.log(math.e + 1) - 1, 0])
    assert positives.tolist() == [1, 1, 0]


def test_symmetric_by_hand():
    """Images (1, 0) and (0, 1), texts (1, 0) and (1, 0), at temperature 1; logits 1, 1 and 0, 0. Each image chooses
    among equals: log 2. Of the texts, the first has logits 1 and 0, its image the first: log(e + 1) - 1; the second
    the same with the other image: log(e + 1). Half of either mean."""
    image, text, label = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.arange(2)
    texts = (math.log(math.e + 1) - 1 + math.log(math.e + 1)) / 2
    assert symmetric(image, text, label, label, 1.0).item() == pytest.approx((math.log(2) + texts) / 2)


def test_symmetric_with_two_images_of_one_text_by_hand():
    """One text (1, 0) and its images (1, 0) and (0, 1): an image has no choice, 0; the text shares itself out between
    logits 1 and 0: log(e + 1) - 1/2."""
    loss = symmetric(torch.eye(2), torch.tensor([[1.0, 0.0]]), torch.tensor([5, 5]), torch.tensor([5]), 1.0)
    assert loss.item() == pytest.approx((math.log(math.e + 1) - 0.5) / 2)


def test_sigmoid_by_hand():
    """Images (1, 0) and (0, 1) with their own copies as texts, at temperature 0.1 and bias -10: a pair has logit 0, log
    2; the others -10, log(1 + e^-10). For each image one of either."""
    label = torch.arange(2)
    loss = sigmoid(torch.eye(2), torch.eye(2), label, label, 0.1, -10.0)
    assert loss.item() == pytest.approx(math.log(2) + math.log1p(math.exp(-10)))


def test_golden_values_of_the_other_forms():
    """From an independent computation in numpy, float64."""
    image, text, six, three = wave(6, 8, 0.1), wave(6, 8, 0.9), torch.arange(6), torch.arange(6) % 3
    assert symmetric(image, text, six, six, 0.07).item() == pytest.approx(3.0023925985, abs=1e-9)
    assert sigmoid(image, text, six, six, 0.1, -10.0).item() == pytest.approx(3.4806345284, abs=1e-9)
    assert among(wave(6, 8, 0.3), three, 0.1)[0].mean().item() == pytest.approx(3.3231147505, abs=1e-9)
