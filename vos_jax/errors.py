"""What is said about input: the error that refuses it, the warning that reads it."""

import warnings


class InputError(ValueError):
    """A file, folder or argument from outside cannot be used.

    The message is a single line that names the file or argument, says what is wrong
    with it and what to do. The command line prints it without a traceback and exits
    with status 2.
    """


class InputWarning(UserWarning):
    """Input that could mean two things was taken in one way, which the message names.

    The command line prints the message as one line on stderr. In a program,
    `warnings.simplefilter("error", vos_jax.InputWarning)` makes it an error.
    """


def warn(message: str) -> None:
    """Says in one line how input was taken; names the file and what to do instead."""
    warnings.warn(message, InputWarning, stacklevel=3)
