"""The core of every contrastive loss: anchors against keys, tile by tile, without ever holding all logits.

    z_ak = q_a.k_k / t + b                 (the columns in `own` are left out)
    P(a) = keys with the label of a, without own(a)

    softmax   row_a    = logsumexp_k z_ak - mean_{k in P(a)} z_ak
              column_k = logsumexp_a z_ak - mean_{a with k in P(a)} z_ak      (if asked for: CLIP's other direction)
    sigmoid   row_a    = sum_k log(1 + exp(-y_ak z_ak)),   y_ak = 1 if k in P(a), else -1        (SigLIP)

Forward streams over tiles of logits and keeps three numbers for each row (and column): log of the sum, sum of the
positives' logits, number of positives. Backward computes the same tiles again; from the kept numbers follows, with the
upstream gradients g_a of rows and h_k of columns,

    softmax   dz_ak = g_a (exp(z_ak - lse_a) - [k in P(a)] / n_a) + h_k (exp(z_ak - lse_k) - [k in P(a)] / n_k)
    sigmoid   dz_ak = g_a * -y_ak sigmoid(-y_ak z_ak)
    dq_a = sum_k dz_ak k_k / t     dk_k = sum_a dz_ak q_a / t     dt = -sum dz_ak (z_ak - b) / t     db = sum dz_ak

so memory grows with the gradients, (A + k) * D, plus one tile, and every number is exact: no key is sampled or
approximated. Features are normalised where a tile needs them, forward and backward, so that there is no second copy of
them: with x / |x| = u, what comes from above as du becomes dx = (du - u (u . du)) / |x|.

On a GPU what is done to a tile (`_take`, `_give`) goes through torch.compile, which makes a few kernels of it;
TORCH_COMPILE_DISABLE=1 switches that off. On a CPU it is eager, and needs no compiler.

Shapes: A anchors of this rank, k keys of one rank, K keys of all ranks, D embedding, T x C a tile.

Gradient convention. Every rank's gradients, of anchors, keys, temperature and bias, are its part of the gradient of
the SUM over ranks of the rank losses: what other ranks' anchors say of this rank's keys has come home. So the mean over
ranks of the parameters' gradients, which data-parallel training takes, is the gradient of the mean over ranks of the
losses. There is no factor for the number of ranks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.losses.precision import without_autocast
from trainer.losses.route import Route, Tensors

Step = Callable[..., None]

TILE = {"cpu": 2**18}
"""Logits held at once, unless the caller says otherwise. On a CPU a tile of 1 MB in fp32 stays in a core's cache."""
LARGE_TILE = 2**22
"""On other devices, where a small tile would cost more to start than to compute."""
SHORTEST = 1e-12
"""A feature that is shorter is divided by this, as in torch's `normalize`."""


class Labels(NamedTuple):
    """Who belongs to whom."""

    anchor: Tensor
    """[A]"""
    key: Tensor
    """[k] Of this rank's keys. Equal labels are positives."""
    own: Tensor
    """[A] The column, among the keys of all ranks, that is neither positive nor negative for an anchor; -1: none."""


class Losses(NamedTuple):
    """One number for each anchor, and one for each key of this rank (none unless columns were asked for)."""

    row: Tensor
    """[A] 0 for an anchor without a positive."""
    column: Tensor
    """[k]"""
    positives: Tensor
    """int64 [A]"""


@dataclass(frozen=True)
class Plan:
    """What is computed and how, besides the tensors with gradients."""

    labels: Labels
    route: Route
    form: Literal["softmax", "sigmoid"] = "softmax"
    columns: bool = False
    tile: int = 0
    """Logits held at once; 0: as suits the device."""
    unit: bool = False
    """Whether features are L2-normalised."""
    compiled: bool | None = None
    """Whether tiles go through torch.compile; None: as suits the device."""


def contrast(
    anchor_AD: Tensor, key_kD: Tensor, temperature: Tensor | float, plan: Plan, bias: Tensor | float = 0.0
) -> Losses:
    """The losses above, computed in at least fp32.

    `temperature` and `bias` are numbers, or tensors [] that get a gradient. `key_kD` gets none if it needs none.
    """
    dtype, device = torch.promote_types(anchor_AD.dtype, torch.float32), anchor_AD.device
    scalars = (torch.as_tensor(each, dtype=dtype, device=device) for each in (temperature, bias))
    row_A, column_k, positives_A = _Contrast.apply(anchor_AD, key_kD, *scalars, plan)
    return Losses(row_A, column_k, positives_A)


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, anchor_AD: Tensor, key_kD: Tensor, temperature: Tensor, bias: Tensor, plan: Plan
    ) -> tuple[Tensor, Tensor, Tensor]:
        form = FORMS[plan.form]
        with without_autocast(anchor_AD):
            anchor, key = (_measured(each.detach(), temperature.dtype, plan) for each in (anchor_AD, key_kD))
            row, column = _stream(_Logits(anchor, temperature, bias, plan), key)
        ctx.plan = plan
        ctx.save_for_backward(anchor_AD, anchor.length, key_kD, key.length, temperature, bias, *row, *column)
        positives_A = row.positives.round().long()
        ctx.mark_non_differentiable(positives_A)
        return form.loss(row), form.loss(column), positives_A

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        anchor_AD, length_A, key_kD, length_k, temperature, bias, *totals = ctx.saved_tensors
        anchor, key = _Features(anchor_AD, length_A), _Features(key_kD.detach(), length_k)
        row, column = _Slopes._make((*totals[:3], slopes[0])), _Slopes._make((*totals[3:], slopes[1]))
        with without_autocast(anchor_AD):
            logits = _Logits(anchor, temperature, bias, ctx.plan)
            return *_gradients(logits, key, row, column, ctx.needs_input_grad), None


class _Features(NamedTuple):
    """Anchors or keys, and what each is divided by."""

    given: Tensor
    """[N, D]"""
    length: Tensor
    """[N] In the logits' type."""

    def part(self, some: slice) -> Tensor:
        """As the logits see them."""
        return self.given[some].to(self.length.dtype) / self.length[some, None]


class Totals(NamedTuple):
    """What is kept of the logits of each row, or of each column: [A] or [k]; empty if there are no columns."""

    log: Tensor
    """Softmax: log of the sum of exp(logit). Sigmoid: unused."""
    total: Tensor
    """Softmax: the sum of the positives' logits. Sigmoid: the loss."""
    positives: Tensor
    """How many, in the logits' type."""

    def part(self, some: slice) -> "Totals":
        """Of these rows or columns; adding to it adds here."""
        return Totals(self.log[some], self.total[some], self.positives[some])


class _Slopes(NamedTuple):
    """The same in the backward pass, with what comes from above."""

    log: Tensor
    total: Tensor
    positives: Tensor
    slope: Tensor
    """Of the objective by the loss of this row or column."""

    def part(self, some: slice) -> "_Slopes":
        return _Slopes(self.log[some], self.total[some], self.positives[some], self.slope[some])


class Tile(NamedTuple):
    """A piece of the matrix of logits, and what it is made from."""

    anchor: Tensor
    """[T, D] Over the temperature."""
    key: Tensor
    """[C, D]"""
    logit: Tensor
    """[T, C] The lowest number where a column is left out."""
    positive: Tensor
    """bool [T, C]"""

    @property
    def mixed(self) -> bool:
        """Whether it may have positives. Most have none: the captions of two ranks are other captions. Where looking
        would wait for the device, it may."""
        return torch.compiler.is_compiling() or self.positive.device.type != "cpu" or bool(self.positive.any())


class Form(Protocol):
    """Softmax or sigmoid. `dim` is 1 for rows, 0 for columns."""

    def add(self, totals: Totals, tile: Tile, dim: int) -> None:
        """Take a tile into the totals of its rows or columns, in place."""
        ...

    def loss(self, totals: Totals) -> Tensor:
        """From complete totals."""
        ...

    def slope(self, whole: _Slopes, tile: Tile, dim: int) -> Tensor:
        """Of the objective by each logit of a tile: what comes from above times the loss's own slope."""
        ...


class _Softmax:
    def add(self, totals: Totals, tile: Tile, dim: int) -> None:
        totals.log.copy_(torch.logaddexp(totals.log, tile.logit.logsumexp(dim)))
        if tile.mixed:
            totals.total.add_(torch.where(tile.positive, tile.logit, 0.0).sum(dim))
            totals.positives.add_(tile.positive.sum(dim))

    def loss(self, totals: Totals) -> Tensor:
        mean = totals.total / totals.positives.clamp(min=1)
        return torch.where(totals.positives > 0, totals.log - mean, 0.0)

    def slope(self, whole: _Slopes, tile: Tile, dim: int) -> Tensor:
        slope = torch.where(whole.positives > 0, whole.slope, 0.0)
        each = (slope / whole.positives.clamp(min=1)).unsqueeze(dim)
        change_TC = (tile.logit - whole.log.unsqueeze(dim)).exp_().mul_(slope.unsqueeze(dim))
        return change_TC.sub_(torch.where(tile.positive, each, 0.0)) if tile.mixed else change_TC


class _Sigmoid:
    def add(self, totals: Totals, tile: Tile, dim: int) -> None:
        totals.total.sub_(F.logsigmoid(self._agreement(tile)).sum(dim))
        totals.positives.add_(tile.positive.sum(dim))

    def loss(self, totals: Totals) -> Tensor:
        return totals.total.clone()

    def slope(self, whole: _Slopes, tile: Tile, dim: int) -> Tensor:
        against_TC = self._agreement(tile).neg_().sigmoid_()
        return torch.where(tile.positive, -against_TC, against_TC).mul_(whole.slope.unsqueeze(dim))

    @staticmethod
    def _agreement(tile: Tile) -> Tensor:
        return torch.where(tile.positive, tile.logit, -tile.logit)


FORMS: Mapping[str, Form] = {"softmax": _Softmax(), "sigmoid": _Sigmoid()}


class Piece(NamedTuple):
    """What a tile is made from."""

    anchor: Tensor
    """[T, D] Over the temperature."""
    key: Tensor
    """[C, D]"""
    anchor_label: Tensor
    """[T]"""
    key_label: Tensor
    """[C]"""
    own: Tensor
    """[T] The column of the tile that is left out, if it has it."""

    def tile(self, bias: Tensor, form: str) -> Tile:
        """With its logits."""
        logit_TC = self.anchor @ self.key.T
        if form == "sigmoid":
            logit_TC += bias
        tile = Tile(self.anchor, self.key, logit_TC, self.anchor_label[:, None] == self.key_label)
        _leave_out(tile, self.own)
        return tile


@dataclass(frozen=True)
class _Logits:
    """Cuts the logits into pieces, the same in forward and backward."""

    anchor: _Features
    temperature: Tensor
    bias: Tensor
    plan: Plan

    @property
    def largest(self) -> int:
        """Numbers in a tile."""
        return self.plan.tile or TILE.get(self.temperature.device.type, LARGE_TILE)

    def pieces(self, rank: int, block: _Features, label_k: Tensor) -> Iterator[tuple[slice, slice, Piece]]:
        """The anchors against the keys of one rank: rows, columns among these keys, and the piece."""
        count = len(block.given)
        down, across = _cut(len(self.anchor.given), count, self.largest)
        for rows in down:
            anchor_TD, label_T = self.anchor.part(rows) / self.temperature, self.plan.labels.anchor[rows]
            own_T = self.plan.labels.own[rows] - rank * count
            for some in across:
                yield rows, some, Piece(anchor_TD, block.part(some), label_T, label_k[some], own_T - some.start)

    def step(self, function: Step) -> Step:
        """What is done to a tile, as the device likes it."""
        compiled = self.plan.compiled
        return _compiled(function) if (self.temperature.is_cuda if compiled is None else compiled) else function


@cache
def _compiled(function: Step) -> Step:
    # Pieces at the ends are smaller: one kernel for all sizes.
    return torch.compile(function, dynamic=True)


def _leave_out(tile: Tile, own_T: Tensor) -> None:
    """Column `own_T` of each row, if the tile has it, is no logit and no positive any more. One number of each row is
    touched and not all: with masks, leaving out costs as much as the rest."""
    width = tile.logit.shape[1]
    there_T1 = ((own_T >= 0) & (own_T < width))[:, None]
    place_T1 = own_T.clamp(0, width - 1)[:, None]
    # The lowest number and not -inf: a row that is left out altogether would give -inf - -inf.
    kept_T1 = tile.logit.gather(1, place_T1).masked_fill_(there_T1, torch.finfo(tile.logit.dtype).min)
    tile.logit.scatter_(1, place_T1, kept_T1)
    tile.positive.scatter_(1, place_T1, tile.positive.gather(1, place_T1) & ~there_T1)


def _stream(logits: _Logits, key: _Features) -> tuple[Totals, Totals]:
    """Forward: the totals of all rows, over all keys, and of this rank's columns, over all anchors."""
    plan = logits.plan
    row, column = _nothing(logits.anchor.length), _nothing(key.length)
    take = logits.step(_take)

    def visit(rank: int, read: Tensors, sums: Tensors, logs: Tensors) -> None:
        for rows, some, piece in logits.pieces(rank, _Features(*read[:2]), read[2]):
            across = Totals(logs[0][some], sums[0][some], sums[1][some]) if plan.columns else None
            take(piece, logits.bias, plan.form, row.part(rows), across)

    read = (*key, plan.labels.key)
    if not plan.columns:
        plan.route.tour(read, (), (), visit)
        return row, _nothing(key.length[:0])
    sums, logs = plan.route.tour(read, (column.total, column.positives), (column.log,), visit)
    return row, Totals(logs[0], sums[0], sums[1])


class _Into(NamedTuple):
    """Where a tile's gradients go; None where none is asked for."""

    anchor: Tensor
    """[T, D] By the anchors over the temperature."""
    key: Tensor | None
    """[C, D]"""
    temperature: Tensor | None
    bias: Tensor | None


def _take(piece: Piece, bias: Tensor, form: str, row: Totals, column: Totals | None) -> None:
    """Forward, one tile: into the totals of its rows and columns."""
    tile = piece.tile(bias, form)
    FORMS[form].add(row, tile, dim=1)
    if column is not None:
        FORMS[form].add(column, tile, dim=0)


def _give(
    piece: Piece,
    temperature: Tensor,
    bias: Tensor,
    form: str,
    slopes: tuple[_Slopes, _Slopes | None],
    into: _Into,
) -> None:
    """Backward, one tile: into the gradients of what it was made from."""
    tile, (row, column) = piece.tile(bias, form), slopes
    change_TC = FORMS[form].slope(row, tile, dim=1)
    if column is not None:
        change_TC += FORMS[form].slope(column, tile, dim=0)
    if into.temperature is not None:
        into.temperature.sub_((change_TC * (tile.logit - bias)).sum() / temperature)
    if into.bias is not None:
        into.bias.add_(change_TC.sum())
    into.anchor.addmm_(change_TC, tile.key)
    if into.key is not None:
        into.key.addmm_(change_TC.T, tile.anchor)


def _gradients(
    logits: _Logits, key: _Features, row: _Slopes, column: _Slopes, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Backward: of anchors, keys (None if they need none), temperature and bias."""
    plan, give = logits.plan, logits.step(_give)
    along_keys = (_zeros(key),) if needed[1] else ()
    anchor_AD = _zeros(logits.anchor)
    temperature, bias = torch.zeros_like(logits.temperature), torch.zeros_like(logits.bias)
    scalars = (temperature if needed[2] else None, bias if needed[3] else None)

    def visit(rank: int, read: Tensors, sums: Tensors, logs: Tensors) -> None:
        given_kD, length_k, label_k, *columns = read
        for rows, some, piece in logits.pieces(rank, _Features(given_kD, length_k), label_k):
            slopes = (row.part(rows), _Slopes(*columns).part(some) if plan.columns else None)
            into = _Into(anchor_AD[rows], sums[0][some] if sums else None, *scalars)
            give(piece, logits.temperature, logits.bias, plan.form, slopes, into)

    read = (*key, plan.labels.key, *(column if plan.columns else ()))
    sums, _ = plan.route.tour(read, along_keys, (), visit)
    of_anchors = _of_given(anchor_AD.div_(logits.temperature), logits.anchor, logits)
    return of_anchors, _of_given(sums[0], key, logits) if sums else None, temperature, bias


def _measured(feature_ND: Tensor, dtype: torch.dtype, plan: Plan) -> _Features:
    """With their lengths, or with 1 if they are to be as they are."""
    if not plan.unit:
        return _Features(feature_ND, torch.ones(len(feature_ND), dtype=dtype, device=feature_ND.device))
    return _Features(feature_ND, torch.linalg.vector_norm(feature_ND, dim=1, dtype=dtype).clamp_(min=SHORTEST))


def _of_given(slope_ND: Tensor, features: _Features, logits: _Logits) -> Tensor:
    """The gradient by features as they were given, from that by features as the logits see them, which is used up."""
    rows = max(1, logits.largest // slope_ND.shape[1])
    for some in _slices(len(slope_ND), rows) if logits.plan.unit else []:
        unit_TD, part_TD, length_T1 = features.part(some), slope_ND[some], features.length[some, None]
        along_T1 = (unit_TD * part_TD).sum(1, keepdim=True)
        # What is divided by a constant has no length of its own.
        part_TD.sub_(unit_TD.mul_(along_T1.masked_fill_(length_T1 <= SHORTEST, 0.0))).div_(length_T1)
    return slope_ND.to(features.given.dtype)


def _zeros(features: _Features) -> Tensor:
    return torch.zeros_like(features.given, dtype=features.length.dtype)


def _nothing(like: Tensor) -> Totals:
    zero = torch.zeros_like(like)
    return Totals(torch.full_like(zero, -torch.inf), zero, zero.clone())


def _cut(rows: int, columns: int, tile: int) -> tuple[list[slice], list[slice]]:
    """Rows and columns of pieces of at most `tile` entries, about as wide as high."""
    width = max(1, min(columns, isqrt(tile)))
    return _slices(rows, max(1, tile // width)), _slices(columns, width)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
