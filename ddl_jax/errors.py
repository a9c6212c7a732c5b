"""The one exception for a user's mistake."""


class UserError(ValueError):
    """A mistake in the user's input: one line: what is wrong, with which value, what to do.

    The programs print the line and exit with status 2, without a traceback.
    """
