"""Upload trained prompts (a run or a checkpoint) to a repository of a Hugging Face hub.

modprompt push output/run me/mpl-on-digits
modprompt push output/run me/mpl-on-digits --dry-run         print the model card and the files, and upload nothing

The command uploads learned prompts and a model card that describes the prompts, but no CLIP weights and no images. The
upload needs a token with write access: run `hf auth login`, or set HF_TOKEN. HF_ENDPOINT selects another hub.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from modprompt.clip import hub
from modprompt.errors import UserError
from modprompt.io.checkpoint import chosen_checkpoint
from modprompt.io.files import of_user
from modprompt.io.identity import is_of
from modprompt.programs import Parser, import_modules, take_imports


def _of_run(args: argparse.Namespace, repo: str, folder: Path) -> str:
    """The card of a run, or of one checkpoint, which is copied into a folder."""
    from modprompt.io import folder as run_folder
    from modprompt.use.sharing import card_of_run, lay_out
    from modprompt.use.trained import trains_nothing

    place = of_user(args.file)
    if not place.exists():
        raise UserError(f"{args.file} is not an existing run or file. Use the output folder of a run, or a checkpoint.")
    result = run_folder.of_training(place).result if place.is_dir() else None
    if result and trains_nothing(result.get("method")):
        if not run_folder.read(place).trained:
            raise UserError(
                f"The method of the run {place} does not train anything, so there are no weights to upload."
            )
        result = None
    file = Path(chosen_checkpoint(place))
    tested = result if result and is_of(result, file) else None
    return card_of_run(lay_out(file, folder), repo, tested, args.license)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; UserError if there is nothing to share, or the hub cannot be asked or refuses."""
    parser = Parser(__doc__)
    add = parser.add_argument
    what = "output folder of a run, folder that save_pretrained wrote, or checkpoint"
    add("file", metavar="RUN", help=what)
    add("repo", metavar="OWNER/NAME", help="repository on the hub, which is created if missing")
    add("--private", action="store_true", help="create the repository as private")
    add(
        "--replace",
        action="store_true",
        help="remove the present weights from the repository; the history of the repository keeps the weights",
    )
    add(
        "--license",
        default="",
        metavar="ID",
        help="the hub's identifier of the licence of the prompts, for example mit (default: none)",
    )
    add("--dry-run", action="store_true", help="print the model card and the list of files, and upload nothing")
    take_imports(parser)
    args = parser.parse_args(argv)
    import_modules(args.imports)
    repo, _ = hub.of_user(args.repo)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        card = _of_run(args, repo, folder)
        from modprompt.use.sharing import CARD, push

        (folder / CARD).write_text(card, encoding="utf-8")
        sizes = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        if args.dry_run:
            print(card)
            print("\n".join(f"{size:>12,} bytes  {path.relative_to(folder)}" for path, size in sizes.items()))
            return 0
        commit = push(args.repo, folder, args.private, args.replace)
    print(f"Pushed {len(sizes)} files ({sum(sizes.values()):,} bytes) to {repo}@{commit}.")
    return 0
