"""Packages that a codebase imports and that are not there: what pip calls them, and who mends them."""

import re
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple

# module, and its name for pip; what codebases of the family and Dassl import
PIP = {
    "PIL": "Pillow",
    "clip": "clip-anytorch",
    "cv2": "opencv-python",
    "deepmerge": "deepmerge",
    "diffusers": "diffusers",
    "einops": "einops",
    "ftfy": "ftfy",
    "gdown": "gdown",
    "h5py": "h5py",
    "kmeans_pytorch": "kmeans-pytorch",
    "langchain": "langchain",
    "langchain_core": "langchain-core",
    "langchain_openai": "langchain-openai",
    "learn2learn": "learn2learn",
    "loguru": "loguru",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "open_clip": "open_clip_torch",
    "openai": "openai",
    "ot": "POT",
    "packaging": "packaging",
    "pandas": "pandas",
    "patchworklib": "patchworklib",
    "pkg_resources": "setuptools<70",
    "plotnine": "plotnine",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "regex": "regex",
    "requests": "requests",
    "scipy": "scipy",
    "seaborn": "seaborn",
    "six": "six",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "tabulate": "tabulate",
    "tensorboard": "tensorboard",
    "termcolor": "termcolor",
    "thop": "thop",
    "timm": "timm",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "transformers": "transformers",
    "ttach": "ttach",
    "wandb": "wandb",
    "wilds": "wilds",
    "yacs": "yacs",
    "yagmail": "yagmail",
    "yaml": "PyYAML",
}
BY_LAUNCHER = ("pkg_resources", "tensorboard", "wilds")  # it puts something in their place where they are missing


class Missing(NamedTuple):
    """Top-level modules that are not there.

    packages: what pip calls those of which that is known.
    unknown: modules of which nobody here knows a package; one may also be a file that the codebase lacks.
    """

    packages: List[str]
    unknown: List[str]


def sort_out(modules: Iterable[str], folder: Path) -> Missing:
    """What pip calls modules; a name that a requirements file of the codebase has is a package, too."""
    required = _required(folder)
    packages: List[str] = []
    unknown: List[str] = []
    for module in sorted(modules, key=str.lower):
        name = PIP.get(module) or required.get(_plain(module), "")
        (packages if name else unknown).append(name or module)
    return Missing(packages, unknown)


def install(packages: Iterable[str]) -> str:
    """The command that installs packages."""
    return "pip install " + " ".join(f'"{name}"' if "<" in name else name for name in packages)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(folder: Path) -> Dict[str, str]:
    found = {}
    for path in folder.glob("requirements*.txt"):
        for line in path.read_text(errors="replace").splitlines():
            name = re.match(r"[A-Za-z0-9][\w.-]*", line.strip())
            if name:
                found[_plain(name.group())] = name.group()
    return found
