"""Get trained prompts that `modprompt push` has shared, from a repository of a Hugging Face hub.

modprompt pull me/mpl-on-digits                              into the folder mpl-on-digits
modprompt pull me/mpl-on-digits@COMMIT --to output/theirs    a branch, a tag or a commit, into another folder

Only checkpoints, their descriptions (config.json) and the card are downloaded, and checkpoints are read as weights: no
code of a repository is run. The commit is printed, and noted in pulled.json. What is in the hub's cache needs no
network. In Python, modprompt.from_pretrained reads the folder, or the repository itself.
"""

from __future__ import annotations

from modprompt.io.text import one_line
from modprompt.programs import Parser


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; UserError if it cannot be downloaded, or was not pushed by this project."""
    parser = Parser(__doc__)
    parser.add_argument("repo", metavar="OWNER/NAME[@REVISION]", help="the repository")
    parser.add_argument("--to", default="", metavar="FOLDER", help="where to put it (default: the repository's name)")
    args = parser.parse_args(argv)
    from modprompt.use.sharing import pull

    folder, commit, runs = pull(args.repo, args.to)
    print(f"Pulled {args.repo.partition('@')[0]}@{commit} to {folder}")
    for run in runs:
        print(f"modprompt predict {one_line(str(run))} IMAGE")
    return 0
