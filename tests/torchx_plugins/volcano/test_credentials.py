"""A credential in plain text is found by its form or its name, and never repeated in the message."""

import pytest

from components.errors import LaunchError
from torchx_plugins.volcano.credentials import in_arguments, in_environment, refuse_literals

# Put together here, so that no scanner takes this file for a leak.
FORMS = {
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a Hugging Face token": "hf_" + "a1B2" * 8,
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "an API key": "sk-" + "a1B2" * 8,
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3" + ".x",
    "a password in a URL": "postgresql://me:" + "hunter2@db/mlflow",
    "an Azure account key": "DefaultEndpointsProtocol=https;AccountKey=" + "abc==",
    "a signed URL": "https://a.blob/x?sv=1&sig=" + "abcdefgh12",
}


@pytest.mark.parametrize("what", FORMS)
def test_a_credential_is_known_by_its_form(what: str) -> None:
    secret = FORMS[what]
    assert [found for _, found in in_arguments(["python", "-m", "x", secret])] == [what]
    assert [found for _, found in in_environment({"X": secret})] == [what]
    with pytest.raises(LaunchError) as refused:
        refuse_literals("caption", ["python", f"--x={secret}"], {})
    assert secret not in str(refused.value)
    assert "-cfg secrets=NAME" in str(refused.value)


@pytest.mark.parametrize(
    "argv",
    [["--hf-token", "x"], ["--hf_token=x"], ["--db.password", "x"], ["--aws-secret-access-key=x"], ["--api-key", "x"]],
)
def test_a_credential_is_known_by_its_flag(argv: list[str]) -> None:
    assert [place for place, _ in in_arguments(["python", *argv])] == [argv[0].partition("=")[0]]


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "AZURE_STORAGE_KEY", "TOKEN"])
def test_a_credential_is_known_by_its_variable(name: str) -> None:
    assert list(in_environment({name: "x"})) == [(f"the variable {name}", "a credential")]
    assert list(in_environment({name: ""})) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["-m", "generator.caption", "--recipe", "nano", "--root", "s3://bucket/run"],
        ["--caption.max_new_tokens", "80", "--tokenizer", "x", "--objective.key", "x"],
        ["--tracking.uri", "http://mlflow:5000", "--sort-key", "x", "--run", "token"],
        ["--password", "--next"],
        ["--token-file", "/var/run/token"],
    ],
)
def test_what_only_sounds_like_one_is_let_through(argv: list[str]) -> None:
    assert list(in_arguments(["python", *argv])) == []
    assert list(in_environment({"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/x", "TOKENIZERS_PARALLELISM": "false"})) == []
