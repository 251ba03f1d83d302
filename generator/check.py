"""What makes a string a caption: one line, neither too short nor too long, that names what was asked.

SynCLR keeps whatever its model writes; a caption that lost its concept is noise to a learner that trusts captions.
"""

import re

from generator.concepts import Request
from generator.config import CaptionConfig


def faults(text: str, request: Request, config: CaptionConfig) -> tuple[str, ...]:
    """What is wrong with a caption; empty if it is good."""
    words = len(text.split())
    asked = [("concept", request.concept)]
    if request.other is not None:
        asked.append((request.template, request.other))
    found = [f"no {part} named" for part, phrase in asked if not names(text, phrase)]
    if words < config.min_words:
        found.append("too short")
    if words > config.max_words:
        found.append("too long")
    if "\n" in text:
        found.append("more than one line")
    if "=>" in text:
        found.append("echo of the prompt")
    return tuple(found)


def names(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text, in any case, in the singular as given or with a plural's s or es."""
    spaced = r"[\s-]+".join(re.escape(word) for word in re.split(r"[\s-]+", phrase.strip()))
    return re.search(rf"(?<!\w){spaced}(?:e?s)?(?!\w)", text, re.IGNORECASE) is not None
