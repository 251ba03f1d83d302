"""Refuses a credential that is written out: what stands in a job can be read by all who may read jobs, and in MLflow.

Values are judged by their form (keys of clouds and hubs, private keys, passwords in URLs), and by the name in front of
them (`--hf-token x`, `DB_PASSWORD=x`). A message names the place and never the value.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from components.errors import LaunchError

_FORMS: Final = {
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "an API key": r"\b(?:sk|rk)-[A-Za-z0-9_-]{20,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{30,}",
    "a Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
    "a password in a URL": r"\b[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s:@]+@",
    "an Azure account key": r"(?i)\b(?:AccountKey|SharedAccessSignature)=[^;\s]+",
    "a signed URL": r"(?i)[?&](?:sig|signature|x-amz-signature|x-goog-signature)=[^&\s]{8,}",
}
_FORM: Final = [(what, re.compile(pattern)) for what, pattern in _FORMS.items()]
# Whole words only: `max_new_tokens` and `tokenizer` are none.
_SECRET: Final = re.compile(
    r"(?:^|[-_.])(?:password|passwd|passphrase|secret|token|credential|credentials|apikey|(?:api|access|secret|private|"
    r"account|storage|sas|session)[-_]?key|sas)$"
)
_FLAG: Final = re.compile(r"--?[A-Za-z][\w.-]*")
_HINT: Final = (
    "give it by reference, -cfg secrets=NAME of a Secret in the namespace, or as the service account's identity"
)


def refuse_literals(role: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Raises LaunchError if a command line or an environment holds a credential."""
    for place, what in (*in_arguments(argv), *in_arguments(_words(argv)), *in_environment(env)):
        raise LaunchError(f"role {role}: {place} holds {what} in plain text; {_HINT}")


def in_arguments(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Where in a command line a credential stands, and what kind."""
    for index, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if not equals and index + 1 < len(argv):
            value = "" if argv[index + 1].startswith("-") else argv[index + 1]
        place = flag if _FLAG.fullmatch(flag) else f"argument {index + 1}"
        if what := form(argument):
            yield place, what
        elif flag.startswith("-") and value and named_secret(flag):
            yield flag, "a credential"


def _words(argv: Sequence[str]) -> list[str]:
    """The words of arguments that are command lines themselves, as that of `bash -c`."""
    words: list[str] = []
    for argument in argv:
        if " " in argument:
            try:
                words += shlex.split(argument)
            except ValueError:  # a quote that does not end
                words += argument.split()
    return words


def in_environment(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Which variables hold a credential, and what kind."""
    for name, value in env.items():
        if what := form(value):
            yield f"the variable {name}", what
        elif value and named_secret(name):
            yield f"the variable {name}", "a credential"


def form(text: str) -> str:
    """What kind of credential a text holds; empty if none is seen."""
    return next((what for what, pattern in _FORM if pattern.search(text)), "")


def named_secret(name: str) -> bool:
    """Whether a name says that its value is secret. `..._FILE` and `..._PATH` name a place instead."""
    return bool(_SECRET.search(name.strip("-").lower()))
