"""k-NN does what DINO's paper says, on numbers that fit on paper."""

import math

import pytest
import torch

from config import ConfigError
from tests.trainer.evaluation.toys import clusters, features
from trainer.config import EvaluateConfig, KnnConfig
from trainer.evaluation.knn import evaluate, nearest, vote


def config(*neighbours: int, temperature: float = 0.07) -> EvaluateConfig:
    return EvaluateConfig(knn=KnnConfig(neighbours=neighbours, temperature=temperature))


def test_neighbours_are_the_highest_cosines_whatever_the_lengths() -> None:
    """Test (0.8, 0.6) against (10, 0), (0, 1), (0.06, 0.08): cosines 0.8, 0.6 and 0.48 + 0.48 = 0.96."""
    train = torch.tensor([[10.0, 0.0], [0.0, 1.0], [0.06, 0.08]])
    similarity, index = nearest(train, torch.tensor([[0.8, 0.6]]), 3)
    assert index.tolist() == [[2, 0, 1]]
    torch.testing.assert_close(similarity, torch.tensor([[0.96, 0.8, 0.6]]))


def test_votes_weigh_by_similarity() -> None:
    """One neighbour of class 0 at cosine 1, two of class 1 at 0.8.

    Class 0 wins if exp(1/T) > 2 exp(0.8/T), which is exp(0.2/T) > 2, which is T < 0.2 / ln 2 = 0.2885.
    """
    similarity, labels = torch.tensor([[1.0, 0.8, 0.8]]), torch.tensor([[0, 1, 1]])
    limit = 0.2 / math.log(2)
    assert vote(similarity, labels, 2, limit * 0.99).tolist() == [0]
    assert vote(similarity, labels, 2, limit * 1.01).tolist() == [1]
    assert vote(similarity, labels, 2, 1e-3).tolist() == [0], "a temperature near 0 does not overflow"


def test_every_k_is_reported_and_the_first_is_the_result() -> None:
    """Test (1, 0): with k = 1 its neighbour (1, 0.1) of class 0 decides; with k = 3 the two of class 1 outvote it:
    cosines 0.995, 0.981, 0.981, so at T = 1 exp(0.995) = 2.70 < 2 exp(0.981) = 5.33."""
    train = features(torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, -0.2]]), torch.tensor([0, 1, 1]))
    test = features(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    found = dict(evaluate(train, test, {"shape": 2}, config(3, 1, temperature=1.0)))
    assert found == {"shape_top1": 100.0, "shape_top1_k3": 100.0, "shape_top1_k1": 0.0}


def test_clusters_are_told_apart_and_random_labels_are_not() -> None:
    train, label_N = clusters(400, 4, 0.05)
    test, label_M = clusters(400, 4, 0.05, seed=1)
    (_, top1), *_ = evaluate(features(train, label_N), features(test, label_M), {"shape": 4}, config(20))
    assert top1 == 100.0
    shuffled = label_N[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    (_, top1), *_ = evaluate(features(train, shuffled), features(test, label_M), {"shape": 4}, config(20))
    assert 10 < top1 < 40


def test_more_neighbours_than_images_are_refused() -> None:
    some = features(*clusters(8, 2, 0.1))
    with pytest.raises(ConfigError, match=r"knn.neighbours must be between 1 and the 8 training images, got \(20,\)"):
        list(evaluate(some, some, {"shape": 2}, config(20)))
