"""The captioner's tokenizer: byte-level BPE, so any text survives encoding, and a word of the world is one token."""

from collections.abc import Iterable
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD: Final = "<|pad|>"
END: Final = "<|end|>"
NEWLINE: Final = "\N{LATIN CAPITAL LETTER C WITH DOT ABOVE}"  # how byte-level BPE spells "\n",
ARROW: Final = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}=>"  # and " =>"
_SIZE: Final = 768  # an upper bound: 256 bytes and every word of world and prompts, with and without a space before it


def build(texts: Iterable[str], context: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose merges come from `texts`; `context` is the longest input in tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_SIZE,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",  # a batch of prompts must end together to be continued
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
