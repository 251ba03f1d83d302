"""The exit codes are a contract with the controller and the Volcano policies."""

import config


def test_exit_codes() -> None:
    assert {name: getattr(config, name).exit_code for name in config.__all__ if name != "Section"} == {
        "ReverieError": 1,
        "ConfigError": 64,
        "DataError": 65,
        "RetryableError": 75,
        "HangError": 76,
        "NotFiniteError": 77,
        "Stopped": 143,
    }


def test_every_error_is_a_reverie_error() -> None:
    errors = [getattr(config, name) for name in config.__all__ if name != "Section"]
    assert all(issubclass(error, config.ReverieError) for error in errors)
