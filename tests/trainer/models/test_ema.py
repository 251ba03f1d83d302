import pytest
import torch
from torch import nn

from config import ConfigError
from trainer.models.ema import follow


def pair(teacher: float, student: float) -> tuple[nn.Linear, nn.Linear]:
    networks = nn.Linear(2, 2), nn.Linear(2, 2)
    for network, value in zip(networks, (teacher, student), strict=True):
        for parameter in network.parameters():
            nn.init.constant_(parameter, value)
    return networks


def test_by_hand():
    """0.9 * 1 + 0.1 * 2 = 1.1, in weight and bias; the student stays."""
    teacher, student = pair(1.0, 2.0)
    follow(teacher, student, 0.9)
    assert teacher.weight.tolist() == [[pytest.approx(1.1)] * 2] * 2
    assert teacher.bias.tolist() == [pytest.approx(1.1)] * 2
    assert student.weight.tolist() == [[2.0] * 2] * 2


def test_momentum_1_stands_still_and_0_copies():
    teacher, student = pair(0.1, 0.3)
    before = teacher.weight.detach().clone()
    follow(teacher, student, 1.0)
    assert torch.equal(teacher.weight, before)
    follow(teacher, student, 0.0)
    assert torch.equal(teacher.weight, student.weight)


def test_the_student_may_have_more():
    followed, leading = nn.Linear(2, 2), nn.Linear(2, 2)
    teacher = nn.ModuleDict({"backbone": followed})
    student = nn.ModuleDict({"backbone": leading, "predictor": nn.Linear(2, 2)})
    follow(teacher, student, 0.0)
    assert torch.equal(followed.weight, leading.weight)


def test_buffers_are_copied():
    teacher, student = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    student.running_mean.fill_(3.0)
    student.num_batches_tracked.fill_(5)
    follow(teacher, student, 0.9)
    assert teacher.running_mean.tolist() == [3.0, 3.0]
    assert teacher.num_batches_tracked.item() == 5


def test_a_teacher_in_half_precision_is_refused():
    """bf16 next to 1 goes on at 1.0078; 0.006 * (2 - 1) is less than half of that, so the teacher would never move."""
    teacher, student = pair(1.0, 2.0)
    with pytest.raises(ConfigError, match=r"weight is torch.bfloat16.*engine.precision"):
        follow(teacher.bfloat16(), student, 0.994)


def test_a_gradient_is_not_recorded():
    teacher, student = pair(1.0, 2.0)
    follow(teacher, student, 0.5)
    assert teacher.weight.grad_fn is None
