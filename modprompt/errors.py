"""The exceptions for what a user can put right: their message is one line that says what, where and what to do."""

from typing import Any, Sequence, Tuple

_LONGEST, _SHOWN_FIRST, _SHOWN_LAST = 600, 400, 180  # characters of a message's line


class UserError(ValueError):
    """A wrong setting, file or argument. Programs print the message alone and exit with a code, 2."""

    kind = "error"  # what stands in front of the message
    exit_code = 2

    def __str__(self) -> str:
        """The message; of a line that quotes a long text the middle is left out."""
        return "\n".join(map(_shortened, super().__str__().split("\n")))


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_SHOWN_FIRST]} [...] {line[-_SHOWN_LAST:]}"


class WaitsForLabels(UserError):
    """A run that cannot go on before somebody has labelled images; nothing is wrong."""

    kind = "waiting"
    exit_code = 3


class OutOfMemory(UserError):
    """More memory was asked for than there is, or than this process may take of a GPU that others use, too."""

    exit_code = 4


class SettingError(UserError):
    """Faults of settings, one or several; the message of each begins with its setting's name.

    Args:
        faults: (name, what is behind it) of each; the two make up the message.
    """

    def __init__(self, faults: Sequence[Tuple[str, str]]):
        self.faults = tuple(faults)
        super().__init__("; ".join(name + text for name, text in self.faults))

    def __reduce__(self) -> Tuple[Any, ...]:
        return SettingError, (self.faults,)

    def under(self, node: str) -> "SettingError":
        """The same with full names: N_CTX becomes TRAINER.COOP.N_CTX; dotted ones are full already."""
        return SettingError([(name if "." in name else f"{node}.{name}", text) for name, text in self.faults])
