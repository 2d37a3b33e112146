"""Command lines of the form --config=FILE.py[:ARGUMENT] --config.key=value, whose errors are one line.

A key may be said without the word config, --workdir=FOLDER for --config.workdir=FOLDER, and one that is true or false
is also a word of its own: --resume for --config.resume=True.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from steady_jax.run.interrupt import Interrupt

USAGE_ERROR = 2
INTERRUPTED = 130  # what shells use for Ctrl-C
HELP = ("-h", "--help")


class UsageError(Exception):
    """A mistake of the person at the terminal, said in one line."""


def run(main: Callable[[ConfigDict, Interrupt], None], description: str) -> None:
    """Calls `main` with the config of the command line and ends the process.

    A `UsageError` is shown as one line and ends with status 2; Ctrl-C and SIGTERM end with status 130.

    Args:
        main: takes the config, and what to ask between stages of work if the process was told to end.
        description: shown by --help, before the keys of the config file that is named.
    """
    logging.set_verbosity(logging.FATAL)  # orbax reports every array, and errors with a trace from each thread
    interrupt = Interrupt()
    interrupt.listen()
    try:
        if set(HELP) & set(sys.argv):
            sys.stdout.write(help_text(sys.argv, description))
        else:
            main(parse(sys.argv), interrupt)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # a compilation may still run in a thread; an orderly end would pull memory from under it


def parse(argv: Sequence[str]) -> ConfigDict:
    """The locked config of a command line, the program's name first.

    Raises:
        UsageError: no config file, an unknown key (with the known ones), or a value of the wrong kind.
    """
    defaults = _defaults(_config_file(argv))
    argv = [_spelt_out(word, defaults) for word in argv]
    try:
        config, rest = _read(argv)
    except (AttributeError, KeyError):  # a key that the locked config does not have
        known = [key for key, _ in _flat(defaults)]
        unknown = [key for key in _given_keys(argv) if key not in known]
        raise UsageError(f"unknown config key {', '.join(unknown)}; known keys are {', '.join(known)}") from None
    if rest:
        raise UsageError(f"unknown argument {rest[0]!r}; settings are given as --config.key=value")
    return config


@contextlib.contextmanager
def usage_errors(kinds: tuple[type[Exception], ...] = (ValueError, OSError)) -> Iterator[None]:
    """Within it, errors of these kinds are mistakes of the person at the terminal. Wrap checks, not the work."""
    try:
        yield
    except kinds as error:
        raise UsageError(str(error)) from error


def help_text(argv: Sequence[str], description: str) -> str:
    """What --help shows: the description, and the keys of the config file on the command line with their defaults."""
    argv = [word for word in argv if word not in HELP]
    with contextlib.suppress(UsageError):
        config = _defaults(_config_file(argv))
        lines = [f"  --config.{key}={value}" for key, value in _flat(config)]
        return "\n".join([description, "keys and their values:", *lines, ""])
    return f"{description}\n"


def _flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names of all settings, with their values."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read(argv: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    """The config of a command line, and the words that are no flags."""
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values, sys_argv=list(argv))
    try:
        rest = values(list(argv))[1:]
    except (flags.Error, ValueError, TypeError) as error:
        raise UsageError(_reason(error)) from error
    return holder.value, rest


def _defaults(file: str) -> ConfigDict:
    return _read(["", f"--config={file}"])[0]


def _spelt_out(word: str, config: ConfigDict) -> str:
    """--config.KEY=VALUE for --KEY=VALUE, and --config.KEY=True for --KEY where KEY is true or false in the config."""
    key, _, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or key not in (known for known, _ in _flat(config)):
        return word
    is_switch = "=" not in word and isinstance(config.get(key), bool)
    return f"--config.{key}=True" if is_switch else f"--config.{key}={value}" if "=" in word else f"--config.{key}"


def _config_file(argv: Sequence[str]) -> str:
    given = [word.split("=", 1)[1] for word in argv if word.startswith(("--config=", "-config="))]
    if not given:
        raise UsageError("name a config file: --config=configs/NAME.py")
    file = given[-1].split(":")[0]
    if not Path(file).is_file():
        raise UsageError(f"the config file {file!r} does not exist; name one as --config=configs/NAME.py")
    return given[-1]


def _given_keys(argv: Sequence[str]) -> list[str]:
    return [word.split("=")[0].split(".", 1)[1] for word in argv if word.startswith(("--config.", "-config."))]


def _reason(error: Exception) -> str:
    """The line of an error that says what is wrong; errors inside a config file come wrapped in their whole trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    inner = [line.split(": ", 1)[1] for line in lines if line.startswith(("ValueError: ", "TypeError: "))]
    return (inner or lines or [type(error).__name__])[-1]
