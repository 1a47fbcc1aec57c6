"""What other codebases are to all other rooms."""

from typing import Any

from modprompt.feature import Feature


class HostsFeature(Feature):
    """Programs of other codebases, which our trainers are entered into."""

    name = "hosts"

    def imported(self, frame: Any) -> None:
        """Enter the program, if it is one that imports the module by a line of its own."""
        from modprompt.hosts import foreign

        if foreign.is_imported_by_a_program(frame):
            foreign.enter_by_line()


FEATURE = HostsFeature()
