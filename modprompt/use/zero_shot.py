"""Zero-shot CLIP on the family's data sets that are there, its counts held against published ones.

Each test is a run of `modprompt train`, so that a count shows what trainings stand on: split, class names, template,
images, weights, precision. One within 0.3% of the images is right.
"""

import itertools
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt import places
from modprompt.clip import lookup
from modprompt.data.published import PUBLISHED as SPLIT
from modprompt.errors import UserError
from modprompt.io import result as results
from modprompt.io.checkpoint import class_list

FOLDERS = {  # of each data set, below the root
    "caltech101": "caltech-101", "dtd": "dtd", "eurosat": "eurosat", "fgvc_aircraft": "fgvc_aircraft",
    "food101": "food-101", "imagenet": "imagenet", "oxford_flowers": "oxford_flowers", "oxford_pets": "oxford_pets",
    "stanford_cars": "stanford_cars", "sun397": "sun397", "ucf101": "ucf101",
}  # fmt: skip
RIGHT = 0.003  # of the images
_FAR = 0.03


class Published(NamedTuple):
    """A published count, or share, of all classes' test images."""

    correct: float  # of the images; not whole where only the share was published
    images: int
    prompts: str = ""  # hash of all prompts in label order (io/checkpoint.py class_list); empty if not printed
    source: str = "SilverIonn/CLIP_KPT 487b713 output/ZeroshotCLIP, fp16"


_LOGS = {  # images, prompts, and right ones by CLIP
    "caltech101": (2465, "2554f05ce704", {"RN50": 2120, "ViT-B/16": 2290}),
    "dtd": (1692, "d3ea5ff754e2", {"RN50": 711}),
    "eurosat": (8100, "31ad17701d29", {"RN50": 3038, "ViT-B/16": 3850}),
    "fgvc_aircraft": (3333, "b531651a81fd", {"RN50": 569}),
    "oxford_flowers": (2463, "83b96cc59598", {"RN50": 1623}),
    "oxford_pets": (3669, "d50433fdafc4", {"RN50": 3149}),
    "stanford_cars": (8041, "e3d9db2edf53", {"RN50": 4476}),
    "ucf101": (3783, "e2f6aad58050", {"RN50": 2324}),
}
_SHARES = {  # images, percent right, and sources: those of experiments/reporting/published.yaml
    ("RN50", "food101"): (30300, 77.32, "gaopengcuhk/Tip-Adapter d0e2d6f exp.log"),
    ("RN50", "sun397"): (19850, 58.52, "gaopengcuhk/Tip-Adapter d0e2d6f exp.log"),
    ("ViT-B/16", "imagenet"): (50000, 66.73, "Vill-Lab/2024-AAAI-HPT 12c74f9 README.md"),
}
Table = Mapping[tuple[str, str], Published]  # by CLIP and data set
PUBLISHED: Table = {
    **{
        (clip, name): Published(count, images, prompts)
        for name, (images, prompts, counts) in _LOGS.items()
        for clip, count in counts.items()
    },
    **{key: Published(share * images / 100, images, "", source) for key, (images, share, source) in _SHARES.items()},
}


def check(root: Path, clips: Sequence[str], table: Table = PUBLISHED) -> int:
    """Test CLIPs (names, or paths of weights) on the data sets below a root and print what came of each.

    Gives the exit code: 0, or 1 if a count is not right or a test failed. Raises UserError if no data set is there, or
    there is no such CLIP.
    """
    for clip in clips:
        if not Path(clip).exists():
            lookup.require(clip, "--zero-shot")
    names = [name for name, folder in FOLDERS.items() if (root / folder).is_dir()]
    if not names:
        raise UserError(
            f"No folder of the eleven benchmark data sets (e.g. eurosat) was found in {root.resolve()}. Set --root to "
            "the folder that contains the data sets."
        )
    from tqdm import tqdm  # late: the doctor says what is missing

    is_right = True
    with tempfile.TemporaryDirectory(prefix="modprompt-zero-shot-") as work:
        for clip, name in (
            bar := tqdm(
                [*itertools.product(clips, names)], desc="testing zero-shot CLIP", unit="data set", disable=None
            )
        ):
            result, fault = _tested(clip, name, root, Path(work))
            said, right = (fault, False) if result is None else compared(result, table.get((clip, name)))
            bar.write(f"{clip}, {name}: {said}")
            is_right &= right
    return 0 if is_right else 1


def _tested(clip: str, name: str, root: Path, work: Path) -> tuple[dict[str, Any] | None, str]:
    """The result of a test in a process of its own, or None and the line that it ended with."""
    out = Path(tempfile.mkdtemp(dir=work))
    words = ["--trainer", "ZeroshotCLIP", "--root", str(root), "--dataset-config-file", name, "--output-dir", str(out)]
    words += ["--backbone", clip]
    done = subprocess.run(
        places.program("train", *words), env={**os.environ, **places.environment()}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    found = results.read(out).result
    if done.returncode or found is None:
        last_line = (done.stdout.strip().splitlines() or ["no output"])[-1][:300]
        return None, f"The test failed ({last_line})."
    return found, ""


def compared(result: Mapping[str, Any], like: Published | None) -> tuple[str, bool]:
    """What a result comes to beside a published count, in words, and whether it is right; right if none is like."""
    correct, images, classes = result["correct"], result["images"], result["class_names"]
    template, names = classes["templates"][0], classes["names"]
    split = (result.get("split") or {}).get("status")
    said = f"{correct:,} of {images:,} images are correct ({100 * correct / images:.2f}%) on {result['device']} with "
    said += f'the template "{template}" and {len(names)} classes ({names[0]} to {names[-1]})'
    said += "." if split == SPLIT else f", on a split that is not the published one (split: {split})."
    if like is None:
        return f"{said} No published result is available for comparison.", True
    count = f"{like.correct:,}" if like.prompts else f"{100 * like.correct / like.images:.2f}%"
    said += f" The published result is {count} of {like.images:,} images ({like.source})."
    if images != like.images:
        return (
            f"{said} The results are not comparable, because the test images are not the published ones. "
            "Download the published split with `modprompt prepare`.",
            False,
        )
    if like.prompts and class_list([template.format(name.replace("_", " ")) for name in names]) != like.prompts:
        return (
            f"{said} The results are not comparable, because the class names, their order or the template differ from "
            "the published ones.",
            False,
        )
    off = correct - like.correct
    share, margin = abs(off) / images, RIGHT * images
    if not like.prompts:
        said += (
            f" The source does not state the template, so {like.correct - margin:,.0f} to {like.correct + margin:,.0f} "
            "correct images are expected."
        )
    if off == 0:
        return f"{said} OK: the results are equal.", True
    if share <= RIGHT:
        return f"{said} OK: the difference of {off:+,.0f} images is explained by rounding.", True
    usual = "a different way of decoding or resizing images, or a different precision"
    if share > _FAR:
        usual = "a different order of the labels, different CLIP weights or a damaged download"
    points = f"{100 * off / images:+.2f} percentage points"
    return f"{said} NOT OK: the difference is {off:+,.0f} images ({points}). The usual cause is {usual}.", False
