"""A config as MLflow params: flat, within MLflow's limits, and without credentials."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from config import Section

MAX_KEY: Final = 250  # MLflow's MAX_ENTITY_KEY_LENGTH
MAX_VALUE: Final = 6000  # MLflow's MAX_PARAM_VAL_LENGTH; servers before 2.8 refuse more than 500
HIDDEN: Final = "***"

# Field names, s3fs/gcsfs/adlfs option names included, whose values are secrets whatever they look like.
_SECRET_NAMES: Final = re.compile(
    r"(?:^|_)(?:password|passwd|secret|credentials?|sas_token|api_key|access_key|secret_key|account_key)$"
    r"|^(?:key|token|connection_string)$"
)
_USER_INFO: Final = re.compile(r"(?<=://)[^/?#\s@]*@")  # user:password@ of a URI
_SECRET_QUERY: Final = re.compile(
    r"([?&](?:[^=&\s]*(?:signature|token|secret|password|credential|access_?key)|sig|key)=)[^&#\s]+", re.IGNORECASE
)
_NOT_IN_KEYS: Final = re.compile(r"[^\w\-. :/]", re.ASCII)


def params(section: Section) -> dict[str, str]:
    """The leaves of a config by dotted path, as text. Lists and empty dicts are JSON; credentials are `***`."""
    return {name(path): value(path, leaf) for path, leaf in section.flat().items()}


def name(text: str) -> str:
    """`text` as a key of a param, metric or tag: characters that MLflow refuses become `_`."""
    return _NOT_IN_KEYS.sub("_", text)[:MAX_KEY]


def value(path: str, leaf: Any) -> str:
    """The text of one leaf. What is longer than MLflow takes ends in an ellipsis."""
    if leaf not in (None, "") and _SECRET_NAMES.search(path.rsplit(".", 1)[-1].lower()):
        return HIDDEN
    text = redact(leaf if isinstance(leaf, str) else json.dumps(_hidden(leaf), ensure_ascii=False))
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def redact(text: str) -> str:
    """`text` with the user info of URIs, and query arguments that sign or authorise, replaced by `***`."""
    return _SECRET_QUERY.sub(rf"\g<1>{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))


def _hidden(leaf: Any) -> Any:
    """Dicts inside lists have secret names too."""
    if isinstance(leaf, Mapping):
        return {k: HIDDEN if _SECRET_NAMES.search(k.lower()) else _hidden(v) for k, v in leaf.items()}
    return [_hidden(item) for item in leaf] if isinstance(leaf, list) else leaf
