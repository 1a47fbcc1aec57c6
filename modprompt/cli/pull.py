"""Download trained prompts that `modprompt push` has uploaded to a Hugging Face hub.

modprompt pull me/mpl-on-digits                              download into the folder mpl-on-digits
modprompt pull me/mpl-on-digits@COMMIT --to output/pulled    download a branch, a tag or a commit into another folder

The command downloads only checkpoints, their descriptions (config.json) and the model card. Checkpoints are loaded as
weights, so no code of the repository is run. The commit is printed and recorded in pulled.json. Files in the hub's
cache need no network. In Python, modprompt.from_pretrained reads the downloaded folder or the repository.
"""

from __future__ import annotations

from modprompt.io.text import one_line
from modprompt.programs import Parser


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; UserError if it cannot be downloaded, or was not pushed by this project."""
    parser = Parser(__doc__)
    parser.add_argument("repo", metavar="OWNER/NAME[@REVISION]", help="repository on the hub")
    parser.add_argument(
        "--to", default="", metavar="FOLDER", help="destination folder (default: the name of the repository)"
    )
    args = parser.parse_args(argv)
    from modprompt.use.sharing import pull

    folder, commit, runs = pull(args.repo, args.to)
    print(f"Pulled {args.repo.partition('@')[0]}@{commit} into {folder}. To classify an image, run:")
    for run in runs:
        print(f"modprompt predict {one_line(str(run))} IMAGE")
    return 0
