"""The record of the feature "other codebases"."""

from collections.abc import Callable
from typing import Any

from modprompt.feature import Feature


class HostsFeature(Feature):
    """Our trainers in programs of other codebases."""

    name = "hosts"

    def flags(self, add: Callable[..., Any]) -> None:
        """--host, and whether its Dassl is used, too."""
        what = "a codebase of the family, whose readers, data configs, config keys and clip are used"
        add("--host", default=None, metavar="FOLDER", help=what)
        add("--its-dassl", action="store_true", help="with --host: use its own Dassl, too")

    def source(self, args: Any) -> Any | None:
        """The codebase of --host."""
        from modprompt.hosts.borrowed import entered

        return entered(args.host, args.its_dassl)

    def check_given(self, given: Any) -> None:
        """Raise UserError if given settings name the reader of a codebase: only --host may."""
        from modprompt.hosts.borrowed import require_no_reader

        require_no_reader(given)

    def imported(self, frame: Any) -> None:
        """Put our trainers into the program that imports this module by a line of its own, if one does."""
        from modprompt.hosts import foreign

        if foreign.is_imported_by_a_program(frame):
            foreign.enter_by_line()


FEATURE = HostsFeature()
