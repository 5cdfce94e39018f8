"""The one exception that means "the input is at fault, not the program"."""


class InputError(ValueError):
    """A file, folder or argument from outside cannot be used.

    The message is a single line that names the file or argument, says what is wrong
    with it and what to do. The command line prints it without a traceback and exits
    with status 2.
    """
