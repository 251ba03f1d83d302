"""Two views of a caption, for objectives that compare texts with themselves (DeCLIP, Li et al. 2022, Sec. 3.2).

    masked    some numbers are to be guessed: replaced by the mask, by any other, or left (BERT: 80, 10 and 10 %)
    changed   by one of EDA's operations, with equal chances: a word replaced by a synonym, two words swapped, words
              deleted ("EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
              Wei and Zou 2019; insertion is left out, as in DeCLIP's code)

What a view holds depends on the seed, the caption's place in the order of the run, and its text: never on workers,
ranks or what was drawn before.

The mask is one more number. The end stays the largest of all, by which the text tower finds it, so the mask takes the
end's number and the end moves up by one.

An operation that finds nothing to do (no word with a synonym, one word only) leaves the text as it is. DeCLIP's
synonyms are WordNet's; here they come from a file.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from config import ConfigError
from trainer.concepts import LISTS, read_list
from trainer.config import ObjectiveConfig, TextViewsConfig
from trainer.draws import Draw, Floats, uniform
from trainer.models.tokenizers import Tokenizer, text_of

NOTHING: Final = -1
"""Where there is nothing to guess."""
_WHICH, _FIRST, _SECOND, _WORDS = 0, 1, 2, 3


class TextViews:
    """Makes views. May be sent to another process."""

    def __init__(self, config: TextViewsConfig, tokenizer: Tokenizer, seed: int) -> None:
        """Raises ConfigError if the file of synonyms cannot be read."""
        self.config, self.tokenizer, self.seed = config, tokenizer, seed
        self.synonyms = read_synonyms(config.synonyms)

    def masked(self, text: str, position: int) -> tuple[list[int], list[int]]:
        """Numbers with a few replaced, and what stood there; `NOTHING` where none is to guess. Begin, end and filling
        never are."""
        numbers, mask = with_mask(self.tokenizer(text), self.tokenizer.size), self.tokenizer.size - 1
        guesses = [NOTHING] * len(numbers)
        draws = uniform(self.seed, Draw.MASKED_WORDS, position, [[place] for place in range(len(numbers))], range(3))
        for place in range(1, numbers.index(self.tokenizer.size)):
            chosen, how, other = draws[place]
            if chosen < self.config.masked:
                guesses[place] = numbers[place]
                if how < 0.8:
                    numbers[place] = mask
                elif how < 0.9:
                    numbers[place] = 1 + int(other * (self.tokenizer.size - 3))  # neither filling, begin, mask nor end
        return numbers, guesses

    def changed(self, text: str, position: int) -> list[int]:
        """Numbers of the text after one of the operations."""
        words = text.split()
        draws = uniform(self.seed, Draw.TEXT_VIEW, position, range(_WORDS + len(words)))
        words = self.operated(words, draws)
        return with_mask(self.tokenizer(" ".join(words)), self.tokenizer.size)

    def operated(self, words: Sequence[str], draws: Floats) -> list[str]:
        """The words after the operation that the first draw says; the others say on which words. As many draws as words
        and three."""
        operations = (self._replaced, _swapped, self._deleted) if self.synonyms else (_swapped, self._deleted)
        return operations[int(draws[_WHICH] * len(operations))](words, draws) if words else []

    def _replaced(self, words: Sequence[str], draws: Floats) -> list[str]:
        """One word, wherever it stands, by one of its synonyms."""
        known = sorted({word for word in words if word.lower() in self.synonyms})
        if not known:
            return list(words)
        old = known[int(draws[_FIRST] * len(known))]
        others = self.synonyms[old.lower()]
        new = others[int(draws[_SECOND] * len(others))]
        return [new if word == old else word for word in words]

    def _deleted(self, words: Sequence[str], draws: Floats) -> list[str]:
        """Each word with some probability; one of them stays."""
        kept = [word for word, draw in zip(words, draws[_WORDS:], strict=True) if draw >= self.config.deleted]
        return kept or [words[int(draws[_FIRST] * len(words))]]


def text_views_of(config: ObjectiveConfig, seed: int) -> TextViews | None:
    """The views of an objective that wants them. Raises ConfigError if a file that it names cannot be read."""
    tokenizer = text_of(config)
    return TextViews(config.text_views, tokenizer, seed) if config.text_views and tokenizer else None


def with_mask(numbers: Sequence[int], size: int) -> list[int]:
    """Numbers of a tokenizer of so many, with the end moved up to make room for the mask."""
    return [size if number == size - 1 else number for number in numbers]


def read_synonyms(file: str) -> Mapping[str, Sequence[str]]:
    """Word to the others of its lines; empty without a file.

    Raises ConfigError if a line has a single word, or the file cannot be read.
    """
    path = str(LISTS / "nano_synonyms.txt") if file == "nano" else file
    found: dict[str, list[str]] = {}
    for line in read_list("objective.text_view.synonyms", path) if path else []:
        words = line.lower().split()
        if len(words) < 2:
            raise ConfigError(
                f"objective.text_view.synonyms: {path!r} has {line!r} alone in a line; two words are needed"
            )
        for word in words:
            others = found.setdefault(word, [])
            others += [other for other in words if other != word and other not in others]
    return found


def _swapped(words: Sequence[str], draws: Floats) -> list[str]:
    """Two words, wherever they stand, change places."""
    swapped = list(words)
    if len(words) > 1:
        first, step = int(draws[_FIRST] * len(words)), 1 + int(draws[_SECOND] * (len(words) - 1))
        second = (first + step) % len(words)
        swapped[first], swapped[second] = words[second], words[first]
    return swapped
