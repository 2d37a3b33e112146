"""Command lines of the form --config=FILE.py[:ARGUMENT] --config.key=value, with errors of one line."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

USAGE_ERROR = 2
INTERRUPTED = 130  # what shells use for Ctrl-C


class UsageError(Exception):
    """A mistake on the command line, said in one line."""


def run(main: Callable[[ConfigDict], int | None]) -> None:
    """Parses the command line and leaves with what `main(config)` returns as exit status.

    A ValueError or OSError from `main` is shown as one line without a trace only if it is a `UsageError`; wrap checks
    of what the person asked for in `usage_errors`. SIGTERM ends a run like Ctrl-C.
    """
    holder = config_flags.DEFINE_config_file("config", help_string="configs/NAME.py[:policy]", lock_config=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def guarded(_: Sequence[str]) -> int | None:
        try:
            return main(holder.value)
        except UsageError as error:
            print(f"error: {error}", file=sys.stderr)
            return USAGE_ERROR
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return INTERRUPTED

    app.run(guarded, flags_parser=_parse)


class usage_errors:  # noqa: N801, reads as a statement
    """A with-block in which ValueError and OSError are mistakes of the person at the terminal."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, OSError)):
            raise UsageError(str(error)) from error


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        _check_config_file(argv)
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UsageError(f"unknown argument {rest[1]!r}; settings are given as --config.key=value")
    except Exception as error:
        print(f"error: {_one_line(error, argv)}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    return rest


def _config_argument(argv: Sequence[str]) -> str | None:
    values = [word.split("=", 1)[1] for word in argv if word.startswith(("--config=", "-config="))]
    return values[-1] if values else None


def _check_config_file(argv: Sequence[str]) -> None:
    value = _config_argument(argv)
    if value is None and not {"--help", "--helpshort", "--helpfull", "-h"} & set(argv):
        raise UsageError("name a config file: --config=configs/NAME.py")
    if value is not None and not Path(value.split(":")[0]).is_file():
        raise UsageError(
            f"config file {value.split(':')[0]!r} does not exist; this command needs --config=configs/NAME.py"
        )


def _one_line(error: Exception, argv: Sequence[str]) -> str:
    """The error in one line; for a key that no config has, with the keys there are."""
    if isinstance(error, (AttributeError, KeyError)):
        known = _known_keys(argv)
        keys = [word.split("=")[0].removeprefix("--config.") for word in argv if word.startswith("--config.")]
        wrong = [key for key in keys if key not in known]
        return f"unknown config key {', '.join(wrong)}; known keys are {', '.join(known)}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line.split(": ", 1)[1] for line in lines if line.startswith(("ValueError: ", "TypeError: "))]
    return (reasons or lines or [type(error).__name__])[-1 if reasons else 0]


def _known_keys(argv: Sequence[str]) -> list[str]:
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    values([argv[0], f"--config={_config_argument(argv)}"])
    return _keys(holder.value)


def _keys(config: ConfigDict, prefix: str = "") -> list[str]:
    found = []
    for key in config:
        value = config[key]
        found += _keys(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [f"{prefix}{key}"]
    return found
