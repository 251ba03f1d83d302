"""A config like a stage's own, for the tests of the command line."""

import errno
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from config import DataError, Section
from config.cli import run


class Clip(Section):
    name: Literal["clip"] = Field("clip", description="Which objective.")
    temperature: float = Field(0.07, description="Of the softmax.", gt=0)


class SynClr(Section):
    name: Literal["synclr"] = Field("synclr", description="Which objective.")
    momentum: float = Field(0.996, description="Of the EMA.")


class Caption(Section):
    count: int = Field(400, description="Captions to write. 400 is what a laptop does in a minute.", gt=0)
    model: str = Field(description="Path or name of the model.")
    label: str | None = Field(None, description="Free text; null switches it off.")
    sizes: tuple[int, ...] = Field((1, 2), description="Pixels.")
    options: dict[str, int | str] = Field({}, description="Passed on to the engine.")


class RunConfig(Section):
    """One run of the sample stage."""

    root: str = Field("runs/x", description="Where the run lives.")
    caption: Caption = Field(description="The captions.")
    objective: Annotated[Clip | SynClr, Field(discriminator="name")] = Field(Clip(), description="The loss.")
    pool: Caption | None = Field(None, description="A second list; null switches it off.")

    @model_validator(mode="after")
    def _even(self) -> "RunConfig":
        if self.caption.count % 2:
            raise ValueError(f"caption.count must be even, got {self.caption.count}")
        return self


def nano() -> RunConfig:
    """Small enough for a test."""
    return RunConfig(caption=Caption(model="tiny"))


RECIPES: dict[str, Callable[[], RunConfig]] = {"nano": nano}


def main(config: RunConfig) -> None:
    match config.root:
        case "corrupt":
            raise DataError("images/000000-a.tar: corrupt")
        case "full":
            raise OSError(errno.ENOSPC, "No space left on device", "images/000000-a.tar")
        case "bug":
            raise OSError(errno.EIO, "Input/output error")
    print("captions:", config.caption.count)


if __name__ == "__main__":
    run(main, RunConfig, RECIPES)
