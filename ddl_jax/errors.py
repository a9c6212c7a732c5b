"""What ends a program early: a mistake of its user, or the loss of its machine."""


class UserError(ValueError):
    """A mistake in the user's input: one line: what is wrong, with which value, what to do.

    The programs print the line and exit with status 2, without a traceback.
    """


class Preempted(Exception):
    """The machine is wanted back: the run has saved its state and can go on elsewhere.

    The programs print the line and end with exit status 75, EX_TEMPFAIL of sysexits.h, by which a
    job scheduler tells it from a failure.
    """
