"""What SuperClass keeps between steps, and what is a class."""

import pytest
import torch
from torch import Tensor

from tests.trainer.objectives.small import MODEL, VIEWS, WORDS, batch
from trainer.config import SuperClassConfig, TokenizerConfig
from trainer.distributed import Single
from trainer.losses.subwords import PLAIN, presence, softmax
from trainer.models.tokenizers import ClipBPE, tokenizer
from trainer.objectives.superclass import SuperClass, left_out


def superclass(**changes: object) -> SuperClass:
    torch.manual_seed(0)
    objective = SuperClass(SuperClassConfig(tokenizer=WORDS).model_copy(update=changes), MODEL, Single(), 100)
    objective.modules().double()
    return objective


def counts(objective: SuperClass) -> tuple[int, Tensor]:
    return int(objective.modules().captions), objective.modules().frequency.clone()


def test_captions_count_once_their_step_is_done():
    """A step that is dropped has no `after_step`: the next loss counts its own batch only."""
    objective = superclass()
    objective.loss(batch())
    assert counts(objective)[0] == 0
    objective.loss(batch(slice(2)))
    objective.after_step(0)
    captions, frequency = counts(objective)
    words = batch(slice(2))["tokens"]
    assert captions == 2
    assert frequency.nonzero()[:, 0].tolist() == sorted({word for word in words.flatten().tolist() if 0 < word < 97})
    objective.loss(batch())
    objective.after_step(1)
    assert counts(objective)[0] == 6
    assert {"captions", "frequency"} <= set(objective.modules().state_dict()), "a run that resumes goes on counting"


def test_the_weights_see_the_batch_itself():
    """At the first step, of 4 captions: the loss is the softmax with log(5 / (df + 1))."""
    objective = superclass()
    loss, _ = objective.loss(batch())
    embedded = objective.embed(batch())
    there = presence(batch()["tokens"], objective.size, objective.without)
    weight = torch.log(5 / (there.sum(0).double() + 1))
    assert loss.item() == pytest.approx(softmax(embedded["score"], there.repeat(VIEWS, 1), weight).mean().item())


def test_without_idf_all_subwords_weigh_the_same():
    objective = superclass(idf=False)
    there = presence(batch()["tokens"], objective.size, objective.without).repeat(VIEWS, 1)
    expected = softmax(objective.embed(batch())["score"], there, torch.ones(objective.size)).mean()
    assert objective.loss(batch())[0].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", PLAIN)
def test_other_losses_see_the_same_subwords(name: str):
    objective = superclass(loss=name)
    there = presence(batch()["tokens"], objective.size, objective.without).repeat(VIEWS, 1)
    expected = PLAIN[name](objective.embed(batch())["score"], there).mean()
    assert objective.loss(batch())[0].item() == pytest.approx(expected.item())


def test_an_empty_caption_has_no_class():
    """In the reference its filling is one, once a caption was seen that fills the context."""
    empty = torch.tensor([[97, 98, 0, 0, 0, 0, 0, 0]])
    assert not presence(empty, 99, left_out(tokenizer(WORDS), stop_words=True)).any()


def test_stop_words_are_those_that_are_one_number():
    words = tokenizer(WORDS)
    without = set(left_out(words, stop_words=False)) - set(left_out(words, stop_words=True))
    assert {words.pieces(word)[0] for word in ("a", "the", "in", "on")} <= without
    assert words.pieces("star")[0] not in without
    bpe = ClipBPE([("t", "h"), ("th", "e</w>")], 8)
    assert bpe.pieces("the")[0] in left_out(bpe, stop_words=False)
    assert bpe.pieces("s")[0] not in left_out(bpe, stop_words=False)


def test_the_feature_is_the_mean_of_the_patches():
    objective = superclass()
    image = batch()["global_crops"]
    patches = objective.modules().backbone(image).patches
    torch.testing.assert_close(objective.encoder()(image), patches.mean(1))
    assert SuperClassConfig(tokenizer=TokenizerConfig()).pools_patches
