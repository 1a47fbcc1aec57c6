"""Share trained prompts: a run, a checkpoint or a whole experiment, to a repository of a Hugging Face hub.

modprompt push output/run me/mpl-on-digits
modprompt push base2new me/base2new --out output             all trained models of an experiment, means over seeds
modprompt push output/run me/mpl-on-digits --dry-run         prints the card, and the files to upload

It uploads learned prompts, never a CLIP or an image, and a card that describes them. It needs a token with write
access: `hf auth login`, or HF_TOKEN. HF_ENDPOINT names another hub.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from modprompt.clip import hub
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, spec
from modprompt.io.checkpoint import chosen_checkpoint
from modprompt.io.files import of_user
from modprompt.programs import Parser, import_modules, take_imports


def _of_run(args: argparse.Namespace, repo: str, folder: Path) -> str:
    """The card of a run, or of one checkpoint, which is copied into a folder."""
    from modprompt.io import folder as run_folder
    from modprompt.use.sharing import card_of_run, lay_out
    from modprompt.use.trained import trains_nothing

    place = of_user(args.file)
    if not place.exists():
        raise UserError(f"there is no run, file or experiment {args.file}: give a run's output folder")
    result = run_folder.of_training(place).result if place.is_dir() else None
    if result and trains_nothing(result.get("method")):
        if not run_folder.read(place).trained:
            raise UserError(f"{place} is a run of a method that trains nothing: there is nothing to share")
        result = None
    file = Path(chosen_checkpoint(place))
    tested = result if result and run_folder.is_of(result, file) else None
    return card_of_run(lay_out(file, folder), repo, tested, args.license)


def _of_experiment(args: argparse.Namespace, repo: str, folder: Path) -> str:
    """The card of an experiment, of which all finished trainings are copied into a folder."""
    from modprompt.experiments.plan.inputs import Inputs
    from modprompt.experiments.plan.protocols import jobs
    from modprompt.experiments.reporting.report import card
    from modprompt.experiments.reporting.results import of_experiment
    from modprompt.experiments.running import state
    from modprompt.use.sharing import lay_out

    plan = arguments.plan_of(args)
    if len(plan.parts) > 1:
        raise UserError(f"{args.file} has several parts: name one, --parts {plan.parts[0].name}")
    (experiment,) = plan.parts
    states = state.of_all(jobs(experiment), args.out, Inputs(args.out, args.data))
    trainings = [(job, stands) for job, stands in states if job.kind == "training" and job.method.trains]
    done = sorted({job.folder for job, stands in trainings if stands.name == state.FINISHED})
    if not done:
        raise UserError(f"{args.file}: none of its trainings is finished in {args.out}: run it, or give --out")
    lacking = len({job.folder for job, _ in trainings}) - len(done)
    if lacking:
        print(f"warning: {lacking} trainings of {args.file} are not finished: they are left out", file=sys.stderr)
    contents = [lay_out(Path(chosen_checkpoint(args.out / run)), folder / run) for run in done]
    clip = next((content.clip for content in contents if content.clip), {})
    return card(experiment, of_experiment(experiment, states), done, clip, repo, args.license)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; UserError if there is nothing to share, or the hub cannot be asked or refuses."""
    parser = Parser(__doc__)
    add = parser.add_argument
    what = "a run's output folder, a folder of save_pretrained, a checkpoint, or an experiment file or name"
    add("file", metavar="RUN_OR_EXPERIMENT", help=what)
    add("repo", metavar="OWNER/NAME", help="the repository; it is created if missing")
    add("--private", action="store_true", help="create it as a private one")
    add("--replace", action="store_true", help="remove its present weights; its history keeps them")
    add("--license", default="", metavar="ID", help="the hub's name of the prompts' licence, e.g. mit (default: none)")
    add("--dry-run", action="store_true", help="print the card and the files, and upload nothing")
    arguments.add_common(parser.add_argument_group("for an experiment"))  # type: ignore[arg-type]
    arguments.add_data(parser)
    take_imports(parser)
    args = parser.parse_args(argv)
    import_modules(args.imports)
    repo, _ = hub.of_user(args.repo)
    is_experiment = Path(args.file).suffix in (".yaml", ".yml") or (spec.FILES / f"{args.file}.yaml").is_file()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        card = (_of_experiment if is_experiment else _of_run)(args, repo, folder)
        from modprompt.use.sharing import CARD, push

        (folder / CARD).write_text(card, encoding="utf-8")
        sizes = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        if args.dry_run:
            print(card)
            print("\n".join(f"{size:>12,} bytes  {path.relative_to(folder)}" for path, size in sizes.items()))
            return 0
        commit = push(args.repo, folder, args.private, args.replace)
    print(f"Pushed {len(sizes)} files, {sum(sizes.values()):,} bytes: {repo}@{commit}")
    return 0
