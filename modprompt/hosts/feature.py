"""What other codebases are to all other packages."""

from typing import Any, Callable, Optional

from modprompt.feature import Feature


class HostsFeature(Feature):
    """Programs of other codebases, which our trainers are entered into."""

    name = "hosts"

    def flags(self, add: Callable[..., Any]) -> None:
        """--host, and whether its Dassl is run, too."""
        what = "a codebase of the family, whose readers, data configs, config keys and clip are taken"
        add("--host", default=None, metavar="FOLDER", help=what)
        add("--its-dassl", action="store_true", help="with --host: its own Dassl, too")

    def source(self, args: Any) -> Optional[Any]:
        """The codebase of --host."""
        from modprompt.hosts.borrowed import entered

        return entered(args.host, args.its_dassl)

    def check_given(self, given: Any) -> None:
        """Raise UserError if it names the reader of a codebase, which --host alone does."""
        from modprompt.hosts.borrowed import require_no_reader

        require_no_reader(given)

    def imported(self, frame: Any) -> None:
        """Enter the program, if it is one that imports the module by a line of its own."""
        from modprompt.hosts import foreign

        if foreign.is_imported_by_a_program(frame):
            foreign.enter_by_line()


FEATURE = HostsFeature()
