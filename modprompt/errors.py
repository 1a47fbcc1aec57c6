"""The one exception for what a user can put right: its message is one line that says what, where and what to do."""


class UserError(ValueError):
    """A wrong setting, file or argument. Programs print the message alone and exit with code 2."""
