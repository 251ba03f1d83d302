"""What a component raises when it cannot be launched as asked."""

from torchx.specs.finder import ComponentValidationException

from config import ConfigError


class LaunchError(ConfigError, ComponentValidationException):
    """The arguments of a component are wrong. The `torchx` command shows its line instead of a traceback."""
