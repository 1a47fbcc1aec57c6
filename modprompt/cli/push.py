"""Upload trained prompts (a run, a checkpoint or an experiment) to a repository of a Hugging Face hub.

modprompt push output/run me/mpl-on-digits
modprompt push base2new me/base2new --out output             upload all trained models of an experiment, with means over
                                                             seeds in the model card
modprompt push output/run me/mpl-on-digits --dry-run         print the model card and the files, and upload nothing

The command uploads learned prompts and a model card that describes the prompts, but no CLIP weights and no images. The
upload needs a token with write access: run `hf auth login`, or set HF_TOKEN. HF_ENDPOINT selects another hub.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from modprompt.checks import counted
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
        raise UserError(
            f"{args.file} is not an existing run, file or experiment. Use the output folder of a run, a checkpoint, or "
            "the name of an experiment."
        )
    result = run_folder.of_training(place).result if place.is_dir() else None
    if result and trains_nothing(result.get("method")):
        if not run_folder.read(place).trained:
            raise UserError(
                f"The method of the run {place} does not train anything, so there are no weights to upload."
            )
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
        raise UserError(f"{args.file} has several parts. Select a part, for example --parts {plan.parts[0].name}.")
    (experiment,) = plan.parts
    states = state.of_all(jobs(experiment), args.out, Inputs(args.out, args.data))
    trainings = [(job, stands) for job, stands in states if job.kind == "training" and job.method.trains]
    done = sorted({job.folder for job, stands in trainings if stands.name == state.FINISHED})
    if not done:
        raise UserError(
            f"{args.file}: {args.out} contains no finished training run of the experiment. Run the experiment, or set "
            "--out to the folder of its runs."
        )
    lacking = len({job.folder for job, _ in trainings}) - len(done)
    if lacking:
        unfinished = f"{counted(lacking, 'training')} {'is' if lacking == 1 else 'are'}"
        print(f"warning: {args.file}: {unfinished} not finished, so these runs are not uploaded.", file=sys.stderr)
    contents = [lay_out(Path(chosen_checkpoint(args.out / run)), folder / run) for run in done]
    clip = next((content.clip for content in contents if content.clip), {})
    return card(experiment, of_experiment(experiment, states), done, clip, repo, args.license)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; UserError if there is nothing to share, or the hub cannot be asked or refuses."""
    parser = Parser(__doc__)
    add = parser.add_argument
    what = "output folder of a run, folder that save_pretrained wrote, checkpoint, or file or name of an experiment"
    add("file", metavar="RUN_OR_EXPERIMENT", help=what)
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
    arguments.add_common(parser.add_argument_group("flags for an experiment"))  # type: ignore[arg-type]
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
    print(f"Pushed {len(sizes)} files ({sum(sizes.values()):,} bytes) to {repo}@{commit}.")
    return 0
