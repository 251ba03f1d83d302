"""Files as OpenAI and open_clip publish them, with random weights."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from config import ConfigError, DataError
from tests.trainer.models import open_clips
from trainer.models import clip
from trainer.models.archive import read_archive
from trainer.models.weights import load_clip, read_weights

FORM = open_clips.SMALL["vit"]
Write = Callable[[Any, Path], None]


@pytest.fixture(autouse=True)
def small_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published sizes are hundreds of megabytes: here `small` and others are names too."""
    quick = FORM.text.model_copy(update={"quick_gelu": True})
    names = {
        "small": FORM,
        "small-quickgelu": clip.Architecture(FORM.image, quick, 32, 64, 100, 9),
        "resnet": open_clips.SMALL["resnet"],
    }
    monkeypatch.setattr(clip, "ARCHITECTURES", names)
    monkeypatch.setattr("trainer.models.weights.ARCHITECTURES", names)


def archive(model: nn.Module, file: Path) -> None:
    """A TorchScript archive of half-precision weights, with the sizes that OpenAI's have among their buffers."""
    scripted = torch.jit.trace(Bare(model.half()), torch.zeros(()), check_trace=False)
    scripted.save(str(file))


class Bare(nn.Module):
    """Holds a model's parts under its own name, and computes nothing: tracing needs no more."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in model.named_buffers(recurse=False):
            if name != "attn_mask":  # a constant of OpenAI's code
                self.register_buffer(name, buffer)
        for name, size in (("input_resolution", 64), ("context_length", 9), ("vocab_size", 100)):
            self.register_buffer(name, torch.tensor(size))

    def forward(self, value: Tensor) -> Tensor:
        return value + 1


def state_dict(model: nn.Module, file: Path) -> None:
    torch.save(model.state_dict(), file)


def checkpoint(model: nn.Module, file: Path) -> None:
    """What open_clip's training writes, from several processes."""
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 3, "name": "small", "state_dict": state, "optimizer": {"state": {}}}, file)


def safetensors(model: nn.Module, file: Path) -> None:
    save_file(model.state_dict(), file)


def own_text(model: nn.Module, file: Path) -> None:
    """open_clip's newer form has the text tower's parameters below `text`, and a scale of shape [1]."""
    state = {}
    for key, value in model.state_dict().items():
        state[key if key.startswith(("visual", "logit")) else f"text.{key}"] = value
    state["logit_scale"] = state["logit_scale"].reshape(1)
    torch.save(state, file)


@pytest.mark.parametrize(
    ("write", "file"),
    [(state_dict, "w.pt"), (checkpoint, "epoch_3.pt"), (safetensors, "w.safetensors"), (own_text, "w.bin")],
)
@pytest.mark.parametrize("name", ["small", "resnet"])
def test_open_clips_files_give_open_clips_features(tmp_path: Path, name: str, write: Write, file: str):
    theirs = open_clips.theirs(clip.ARCHITECTURES[name])
    write(theirs, tmp_path / file)
    ours = load_clip(name, str(tmp_path / file))
    image, token = open_clips.inputs(clip.ARCHITECTURES[name])
    with torch.inference_mode():
        found, expected = ours(image, token), theirs(image, token)
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=2e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.logit_scale.exp(), expected[2])
    assert not any(parameter.requires_grad for parameter in ours.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of writing TorchScript
def test_openais_archive_is_read_without_running_it(tmp_path: Path):
    """What torch.jit.load finds in it, tensor by tensor; and the model computes what open_clip's does with them."""
    file = tmp_path / "ViT-small.pt"
    archive(open_clips.theirs(FORM), file)
    found = read_archive(file)
    expected = torch.jit.load(str(file)).state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert found["visual.conv1.weight"].dtype == torch.float16
    theirs = open_clips.theirs(clip.ARCHITECTURES["small-quickgelu"]).half().float()
    ours = load_clip("small-quickgelu", str(file))
    image, _ = open_clips.inputs(FORM)
    torch.testing.assert_close(ours.visual(image), theirs.encode_image(image), rtol=0, atol=5e-6)
    with pytest.raises(ConfigError, match="OpenAI's weights, trained with quick_gelu: take small-quickgelu"):
        load_clip("small", str(file))


class Evil:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def evil_pickle(folder: Path, file: Path) -> None:
    file.write_bytes(pickle.dumps(Evil(folder), protocol=2))


def evil_checkpoint(folder: Path, file: Path) -> None:
    torch.save({"state_dict": {"visual.proj": Evil(folder)}}, file)


def evil_archive(folder: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", pickle.dumps(Evil(folder), protocol=2))


@pytest.mark.parametrize("write", [evil_pickle, evil_checkpoint, evil_archive])
def test_a_pickle_that_runs_code_is_refused_and_named(tmp_path: Path, write: Write):
    folder, file = tmp_path / "pwned", tmp_path / "weights.pt"
    write(folder, file)
    with pytest.raises(DataError, match=r"weights\.pt' would run code.*mkdir.*a source you trust"):
        read_weights(str(file))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>", "is a web page and no weights"),
        (b"", r"\(0 bytes\) cannot be read as weights"),
        (b"\x00" * 100, r"\(100 bytes\) cannot be read as weights"),
        (b"PK\x03\x04" + b"\x00" * 50, "cannot be read as weights.*fetch it again"),
    ],
)
@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
def test_what_is_no_weights_is_said(tmp_path: Path, file: str, content: bytes, said: str):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_weights(str(tmp_path / file))


def test_a_cut_file_is_said(tmp_path: Path):
    state_dict(open_clips.theirs(FORM), tmp_path / "w.pt")
    data = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"w\.pt' .* cannot be read as weights"):
        read_weights(str(tmp_path / "w.pt"))


def test_anothers_weights_are_named_with_the_models_that_they_fit(tmp_path: Path):
    state_dict(open_clips.theirs(FORM), tmp_path / "w.pt")
    with pytest.raises(
        ConfigError, match=r"not hold the weights of resnet: .*missing.* By shape they fit small, small-q"
    ):
        load_clip("resnet", str(tmp_path / "w.pt"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("ln_final.weight"), r"text\.ln_final\.weight missing\. By shape they fit none of"),
        (lambda state: state.update(logit_bias=torch.zeros(())), "logit_bias not in the model"),
        (
            lambda state: state.update({"visual.positional_embedding": torch.zeros(10, 128)}),
            r"visual\.positional_embedding is \[10, 128\] instead of \[17, 128\]",
        ),
    ],
)
def test_wrong_keys_are_named(tmp_path: Path, change: Callable[[dict[str, Tensor]], object], said: str):
    state = open_clips.theirs(FORM).state_dict()
    change(state)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=said):
        load_clip("small", str(tmp_path / "w.pt"))


@pytest.mark.parametrize(
    ("held", "said"),
    [([1, 2], "no state dict but a list"), ({}, "no state dict"), ({"a": 1}, "'a' is no tensor but a int")],
)
def test_a_file_of_something_else_is_said(tmp_path: Path, held: object, said: str):
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(DataError, match=said):
        read_weights(str(tmp_path / "w.pt"))


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no file '.*nowhere\.pt'"):
        load_clip("small", str(tmp_path / "nowhere.pt"))
