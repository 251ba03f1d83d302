"""The core of the contrastive losses against a dense reference, in tiles and on several ranks."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.distributed import Gather, Single
from trainer.losses.contrastive import NO_KEY, among, multi_positive, own_keys, sigmoid, symmetric
from trainer.losses.route import ALONE, ROUTES, Gathered, Ring
from trainer.losses.tiles import Labels, Plan, contrast

FORMS = [("softmax", False), ("softmax", True), ("sigmoid", False)]
TILES = pytest.mark.parametrize("tile", [2**22, 1, 7, 12])
NAMES = ("anchor", "key", "temperature", "bias")


def wave(rows: int, columns: int, shift: float) -> Tensor:
    """The golden inputs: sin(shift + 1.7 i + 0.31 j^2), in float64."""
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)
    return torch.sin(shift + 1.7 * i + 0.31 * j * j)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


LABELS = Labels(torch.tensor([0, 1, 2, 0, 9]), torch.tensor([0, 1, 2, 0]), torch.tensor([0, -1, -1, 2, -1]))
"""Anchor 0 leaves out its own key, anchor 3 a negative one; anchor 4 has no positive."""


def dense(anchor: Tensor, key: Tensor, temperature: Tensor, bias: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """The same with all logits at once and loops in place of masks."""
    logit = anchor @ key.T / temperature
    kept = torch.arange(len(key)) != LABELS.own[:, None]
    positive = (LABELS.anchor[:, None] == LABELS.key) & kept
    if form == "sigmoid":
        signed = (logit + bias) * (2.0 * positive - 1)
        return ((1 + (-signed).exp()).log() * kept).sum(1), logit.new_zeros(0)

    def choose(some: Tensor, belongs: Tensor, there: Tensor) -> Tensor:
        if not belongs.any():
            return some.sum() * 0
        return some[there].exp().sum().log() - some[belongs].mean()

    rows = [choose(*row) for row in zip(logit, positive, kept, strict=True)]
    columns = [choose(*column) for column in zip(logit.T, positive.T, kept.T, strict=True)]
    return torch.stack(rows), torch.stack(columns)


def inputs() -> list[Tensor]:
    return [wave(5, 3, 0.3).requires_grad_(), wave(4, 3, 0.5).requires_grad_(), scalar(0.5), scalar(-1.0)]


def ours(anchor: Tensor, key: Tensor, temperature: Tensor, bias: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    losses = contrast(anchor, key, temperature, plan, bias)
    return losses.row, losses.column


@pytest.mark.parametrize(("form", "columns"), FORMS)
@TILES
def test_loss_and_every_gradient_are_the_dense_ones(form, columns, tile):
    """5 anchors and 4 keys, in tiles that do not divide them; each loss has a weight of its own."""
    results = []
    for function in (
        partial(dense, form=form),
        partial(ours, plan=Plan(LABELS, ALONE, form, columns, tile)),
    ):
        tensors = inputs()
        row, column = function(*tensors)
        weight = torch.arange(1.0, 6.0)
        total = (row * weight).sum() + ((column * weight[:4]).sum() if columns else 0.0)
        gradients = torch.autograd.grad(total, tensors[: 4 if form == "sigmoid" else 3])
        results.append([row.detach(), *([column.detach()] if columns else []), *gradients])
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("form", "columns"), [("softmax", True), ("sigmoid", False)])
def test_compiled_it_is_the_same(form, columns):
    """By the compiler that a GPU gets: tiles that do not divide the logits, all gradients, a column left out."""
    results = []
    for compiled in (False, True):
        tensors = inputs()
        anchor, key, temperature, bias = tensors
        plan = Plan(LABELS, ALONE, form, columns, tile=6, unit=True, compiled=compiled)
        row, column = ours(anchor, key, temperature, bias, plan)
        ((row * torch.arange(1.0, 6.0)).sum() + column.sum()).backward()
        results.append([row.detach(), column.detach(), *(each.grad for each in tensors)])
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("form", "columns"), FORMS)
@TILES
def test_normalised_on_the_way_is_normalised_before(form, columns, tile):
    """Features of several lengths, two of them 0, which have no direction and stay 0."""
    length = torch.tensor([1.0, 3.0, 0.0, 0.2, 1.0], dtype=torch.float64)[:, None]
    results = []
    for before in (True, False):
        tensors = inputs()
        given = [each * length[: len(each)] for each in tensors[:2]]
        for each in given:
            each.retain_grad()
        plan = Plan(LABELS, ALONE, form, columns, tile, unit=not before)
        anchor, key = (F.normalize(each) if before else each for each in given)
        losses = contrast(anchor, key, tensors[2], plan, tensors[3])
        weight = torch.arange(1.0, 6.0)
        ((losses.row * weight).sum() + (losses.column * weight[: len(losses.column)]).sum()).backward()
        results.append([losses.row.detach(), *(each.grad for each in (*given, *tensors[2:]))])
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(("form", "columns"), FORMS)
def test_gradients_by_finite_differences(form, columns, unit):
    plan = Plan(LABELS, ALONE, form, columns, tile=6, unit=unit)
    assert torch.autograd.gradcheck(partial(ours, plan=plan), inputs())


def test_the_gradient_of_the_temperature_by_hand():
    """One anchor (1, 0) at temperature 1 with keys (1, 0), its positive, and (-1, 0): logits 1 and -1, loss
    log(1 + e^-2). By the temperature: -(p - 1) * 1 - (1 - p) * -1 = 2 (1 - p) with p = 1 / (1 + e^-2)."""
    temperature = scalar(1.0)
    anchor = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    labels = Labels(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([-1]))
    loss = contrast(anchor, torch.cat([anchor, -anchor]), temperature, Plan(labels, ALONE)).row
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert torch.autograd.grad(loss.sum(), temperature)[0].item() == pytest.approx(2 * (1 - 1 / (1 + math.exp(-2))))


def test_a_row_that_is_left_out_altogether_counts_as_nothing():
    """Its only key is its own: loss 0 and gradient 0, where a fraction of nothing would be not a number."""
    anchor = wave(2, 3, 0.3)[:1].requires_grad_()
    labels = Labels(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    losses = contrast(anchor, wave(1, 3, 0.5), 0.1, Plan(labels, ALONE))
    assert (losses.row.item(), losses.positives.item()) == (0, 0)
    assert torch.autograd.grad(losses.row.sum(), anchor)[0].abs().max() == 0


@pytest.mark.parametrize("route", [ALONE, Ring(Single())])
def test_large_logits_do_not_overflow(route):
    """At temperature 0.001 a logit is 1000, whose exponential no type holds. The positive is the other key, with
    logit -1000: the loss is 2000."""
    anchor = torch.tensor([[1.0, 0.0]], requires_grad=True)
    labels = Labels(torch.tensor([1]), torch.tensor([0, 1]), torch.tensor([-1]))
    loss = contrast(anchor, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 0.001, Plan(labels, route, tile=1)).row
    assert loss.item() == pytest.approx(2000)
    assert torch.isfinite(torch.autograd.grad(loss.sum(), anchor)[0]).all()


def test_half_precision_around_changes_nothing():
    """Under autocast the matrix products of the loss stay in fp32, forward and backward."""
    results = []
    for half in (False, True):
        feature = wave(6, 8, 0.3).float().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = among(feature, torch.arange(6) % 3, 0.1)[0].mean()
            results.append((loss.detach(), *torch.autograd.grad(loss, feature)))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


@pytest.mark.parametrize("form", ["symmetric", "sigmoid", "among", "teacher"])
def test_memory_is_what_goes_in_and_one_tile(form):
    """512 anchors and 512 keys in tiles of 4096 logits, forward and backward: nothing of the 262144 logits' size is
    ever made, and nothing larger than the features is kept in between."""
    sizes: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            several = made if isinstance(made, tuple) else (made,)
            sizes.extend(each.numel() for each in several if isinstance(each, Tensor))
            return made

    image, text, label = wave(512, 8, 0.1).requires_grad_(), wave(512, 8, 0.9), torch.arange(512)
    none = torch.full_like(label, NO_KEY)
    losses = {
        "symmetric": lambda: symmetric(image, text, label, label, 0.1, tile=4096),
        "sigmoid": lambda: sigmoid(image, text, label, label, 0.1, -10.0, tile=4096),
        "among": lambda: among(image, label // 2, 0.1, tile=4096)[0].mean(),
        "teacher": lambda: multi_positive(image, text, label, label, none, 0.1, tile=4096)[0].mean(),
    }
    with Watch():
        torch.autograd.grad(losses[form](), image)
    assert max(sizes) == 4096


def share(gather: Gather) -> dict[str, Tensor]:
    """Every form by every route: loss and gradients of what made the features, on this rank's part of 4 captions with
    3 images each."""
    results: dict[str, Tensor] = {}
    caption_I, caption_T = torch.arange(4).repeat(3), torch.arange(4)
    here_I, here_T = (each % gather.world == gather.rank for each in (caption_I, caption_T))
    for name, make in ROUTES.items():
        route = make(gather)
        for form in ("teacher", "among", "symmetric", "sigmoid"):
            weight = torch.eye(8, dtype=torch.float64, requires_grad=True)
            temperature, bias = scalar(0.3), scalar(-2.0)
            image, text = wave(12, 8, 0.3)[here_I] @ weight, wave(4, 8, 0.9)[here_T] @ weight
            label_I, label_T = caption_I[here_I], caption_T[here_T]
            if form == "teacher":
                own = own_keys(len(image), len(image), gather, image.device)
                loss, _ = multi_positive(image, image + 1, label_I, label_I, own, temperature, 5, route)
                loss = loss.mean()
            elif form == "among":
                loss = among(image, label_I, temperature, route, tile=5)[0].mean()
            elif form == "symmetric":
                loss = symmetric(image, text, label_I, label_T, temperature, route, tile=5)
            else:
                loss = sigmoid(image, text, label_I, label_T, temperature, bias, route, tile=5)
            loss.backward()
            for key, value in zip(("loss", *NAMES[1:]), (loss, weight.grad, temperature.grad, bias.grad), strict=True):
                if value is not None:
                    results[f"{form} by {name}: {key}"] = value.detach()
    return results


def test_both_routes_are_one_loss_on_one_process():
    whole = share(Single())
    for name, value in whole.items():
        if "by ring" in name:
            torch.testing.assert_close(value, whole[name.replace("ring", "gather")], rtol=0, atol=0, msg=name)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_give_the_loss_and_every_gradient_of_one(on_ranks, world):
    """The mean over ranks, as data-parallel training takes it. A key's gradient from other ranks' anchors that did not
    come home, or a temperature's that came home once too often, shows."""
    whole, parts = share(Single()), on_ranks(share, world)
    assert len(whole) == 2 * (3 * 3 + 4)
    for name, expected in whole.items():
        mean = torch.stack([part[name] for part in parts]).mean(0)
        torch.testing.assert_close(mean, expected, rtol=1e-11, atol=1e-12, msg=name)


def test_a_ring_hands_blocks_on_and_brings_the_sums_home():
    """One rank: the block is its own, visited once."""
    seen: list[int] = []

    def visit(rank, read, sums, logs):
        seen.append(rank)
        sums[0].add_(read[0])

    for route in (Ring(Single()), Gathered(Single())):
        block = torch.ones(2)
        (total,), _ = route.tour((block,), (torch.zeros(2),), (), visit)
        assert total.tolist() == [1, 1]
    assert seen == [0, 0]
