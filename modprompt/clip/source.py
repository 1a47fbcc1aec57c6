"""Where the weights of a CLIP are, and what says how they are run: a file, a folder, or a name."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import config_files, hub, known
from modprompt.clip.design import ACTIVATIONS
from modprompt.clip.package import import_clip
from modprompt.errors import UserError
from modprompt.io.paths import of_user
from modprompt.io.safetensors_files import shard_names

_RUN_EMBEDDED = (
    f"`modprompt train --trainer MPL` alone, or MODEL.BACKBONE.NAME {known.EMBEDDED}, runs the embedded model"
)
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".tar")
_OPEN_CLIP = (
    "open_clip_model.safetensors", "open_clip_model.safetensors.index.json", "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin", "open_clip_pytorch_model.bin.index.json", "open_clip_pytorch_model.pt",
)  # fmt: skip
TRANSFORMERS_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_CONFIGS = (
    config_files.OPEN_CLIP_FILE,
    config_files.TRANSFORMERS_FILE,
    config_files.IMAGES_FILE,
    config_files.TOKENIZER_FILE,
)


class Asked(NamedTuple):
    """A CLIP as a user names it.

    name: a known name, or "hf-hub:owner/name@revision"; not read if there is a path.
    path: a file or folder of weights; empty for none.
    activation: quick_gelu or gelu, for weights of which nothing else says it; empty for none.
    heads: the same for attention heads: (text side, image side); a ResNet's second is its attention pool's.
    model: the same for open_clip's name, MODEL or MODEL/TAG; empty for none.
    """

    name: str = ""
    path: str = ""
    activation: str = ""
    heads: tuple[int, ...] = ()
    model: str = ""


def asked_of(backbone: Any) -> Asked:
    """The CLIP of a run's backbone settings (compat/run_settings.py)."""
    heads = backbone.heads if isinstance(backbone.heads, tuple) else (backbone.heads,)
    return Asked(backbone.name, backbone.path, backbone.activation, heads, backbone.model)


class Source(NamedTuple):
    """Where weights are.

    name: as it was asked for, a hub's with the commit that was used; empty for a file.
    file: base name of the file or folder that was given; empty for a name.
    weights: the file, or an index of several; None for the embedded model.
    asked: what was asked for.
    row: its row in the table of known CLIPs, by its name, hash or repository; None if it has none.
    sha256: of a single file; empty for several.
    commit: of a hub's repository; else empty.
    """

    name: str
    file: str
    weights: Path | None
    asked: Asked
    row: known.Row | None = None
    sha256: str = ""
    commit: str = ""

    @property
    def called(self) -> str:
        """The name of the weights in messages."""
        return str(self.weights) if self.file else self.name


def find(asked: Asked) -> Source:
    """The source of a CLIP; what is not on disk is downloaded.

    Raises:
        UserError: if there is none, or nothing says how it is run.
    """
    _require_options(asked)
    if asked.path:
        return _of_path(asked)
    row = None if asked.name.startswith(hub.PREFIX) else known.require(asked.name)
    if asked.activation or asked.heads:
        raise UserError(
            "MODEL.BACKBONE.ACTIVATION and HEADS are for weights from MODEL.BACKBONE.PATH that nothing else describes: "
            f"{asked.name} already says it"
        )
    if asked.model:
        raise UserError(f"MODEL.BACKBONE.MODEL is for a file from MODEL.BACKBONE.PATH: {asked.name} already says it")
    return _of_hub(asked) if row is None else _of_table(asked, row)


def _require_options(asked: Asked) -> None:
    if asked.activation not in ("", *ACTIVATIONS):
        words = " or ".join(ACTIVATIONS)
        raise UserError(f"MODEL.BACKBONE.ACTIVATION must be {words}, got {asked.activation!r}")
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in asked.heads)
    if len(asked.heads) not in (0, 2) or not whole:
        raise UserError(f"MODEL.BACKBONE.HEADS must be two whole numbers, (text side, image side), got {asked.heads!r}")


def _of_table(asked: Asked, row: known.Row) -> Source:
    if row.source == "embedded":
        return Source(row.name, "", None, asked, row)
    if row.source == "OpenAI":
        return Source(row.name, "", _openai_file(row.name), asked, row, row.sha256)
    revision = known.at_revision(asked.name)[1]
    preferred = (row.file,) if row.file else _OPEN_CLIP
    found = hub.snapshot(row.source, revision, lambda there: [_pick(there, row.source, preferred)])
    weights = found.folder / _pick(_files(found.folder), row.source, preferred)
    return _checked(Source(row.name, "", weights, asked, row, commit=found.commit))


def _openai_file(name: str) -> Path:
    clip = import_clip()
    cache = of_user("~/.cache/clip")
    if name not in clip._MODELS:
        raise UserError(f"the `clip` package at {Path(str(clip.__file__)).parent} does not know {name}")
    url = clip._MODELS[name]
    try:
        return Path(clip._download(url, str(cache)))  # checked by the SHA-256 in its address
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"no weights for {name}: {cache / url.rpartition('/')[2]} is not there and the download failed ({error}); "
            f"put the file there or give MODEL.BACKBONE.PATH; {_RUN_EMBEDDED}"
        ) from None


def _of_hub(asked: Asked) -> Source:
    repo, revision = hub.parse(asked.name)
    found = hub.snapshot(repo, revision, lambda there: _wanted(there, repo))
    source = _of_folder(found.folder, asked)
    return source._replace(
        name=f"{hub.PREFIX}{repo}@{found.commit}",
        file="",
        commit=found.commit,
        row=source.row or known.by_repository(repo),
    )


def _of_path(asked: Asked) -> Source:
    path = of_user(asked.path)
    try:
        if not path.exists():
            if asked.path.startswith(hub.PREFIX) or known.find(asked.path):
                raise UserError(f"MODEL.BACKBONE.PATH: {path} is a name: give it with --backbone (MODEL.BACKBONE.NAME)")
            raise UserError(f"MODEL.BACKBONE.PATH: no file or folder at {path}; {_RUN_EMBEDDED}")
        file = path.name if path.name not in ("", "..") else path.resolve().name
        found = _of_folder(_snapshot_in(path), asked) if path.is_dir() else _checked(Source("", file, path, asked))
    except OSError as error:
        raise UserError(f"MODEL.BACKBONE.PATH: cannot read {path} ({error.strerror})") from None
    assert found.weights is not None  # it is a file
    repo, commit = hub.address_of(found.weights.parent)
    found = found._replace(file=file, commit=commit, row=found.row or known.by_repository(repo))
    return found._replace(row=_row_of_model(found)) if asked.model else found


def _row_of_model(found: Source) -> known.Row:
    """The row that a user names for weights of which nothing else says what they are."""
    asked, weights = found.asked, found.weights
    assert weights is not None  # it is a file
    if asked.activation or asked.heads:
        raise UserError("MODEL.BACKBONE.MODEL says activation and heads: leave out ACTIVATION and HEADS")
    if found.row is not None or (weights.parent / config_files.OPEN_CLIP_FILE).is_file():
        raise UserError(f"MODEL.BACKBONE.MODEL is for a file of which nothing else says it, but {weights} says it")
    return known.of_model(asked.model)


def _snapshot_in(folder: Path) -> Path:
    """The snapshot in a repository's folder of the hub's cache; other folders unchanged."""
    if not (folder / "snapshots").is_dir():
        return folder
    main = hub.commit_of(folder / "refs" / "main")
    found = [folder / "snapshots" / main] if main else sorted((folder / "snapshots").iterdir())
    if len(found) != 1 or not found[0].is_dir():
        raise UserError(f"{folder} holds {len(found)} snapshots and none is main: give the folder of one")
    return found[0]


def _of_folder(folder: Path, asked: Asked) -> Source:
    weights = folder / _pick(_files(folder), str(folder))
    return _checked(Source("", folder.name, weights, asked))


def _files(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.is_file())


def _wanted(there: Sequence[str], repo: str) -> list[str]:
    """The files of a repository that are needed: its weights, and what says how they are run."""
    weights = _pick(there, repo)
    configs = [one for one in _CONFIGS if one in there]
    if weights in _OPEN_CLIP:  # needed even if only the cache is known
        configs.append(config_files.OPEN_CLIP_FILE)
    elif weights in TRANSFORMERS_WEIGHTS and config_files.OPEN_CLIP_FILE not in there:
        of_images = (config_files.IMAGES_FILE, config_files.PROCESSOR_FILE)  # the one that exists
        configs += [config_files.TRANSFORMERS_FILE, next((one for one in of_images if one in there), of_images[0])]
    return [weights, *dict.fromkeys(configs)]


def _pick(there: Sequence[str], where: str, preferred: Sequence[str] = ()) -> str:
    """The file with the weights: open_clip's own first, then transformers', then the only one."""
    order = preferred or (
        *(_OPEN_CLIP if config_files.OPEN_CLIP_FILE in there else ()),
        *(TRANSFORMERS_WEIGHTS if config_files.TRANSFORMERS_FILE in there else ()),
    )
    found = next((one for one in order if one in there), None)
    if found is not None:
        return found
    files = [one for one in there if one.endswith(SUFFIXES) and "/" not in one]
    if len(files) != 1:
        listed = ", ".join(files) or "nothing"
        raise UserError(f"{where} must hold one file of weights ({', '.join(SUFFIXES)}), there is: {listed}")
    return files[0]


def _checked(source: Source) -> Source:
    """A source after checking its files against their names in a hub's cache, with the hash of a single one."""
    weights = source.weights
    assert weights is not None  # the embedded model has no file of its own
    if weights.name.endswith(".index.json"):
        for name in shard_names(weights):
            if (weights.parent / name).exists():  # a missing one is reported when it is read
                _checked_hash(weights.parent / name)
        return source
    sha256 = _checked_hash(weights)
    published = (row for row in known.rows() if row.sha256 == sha256)  # one of OpenAI's files
    return source._replace(sha256=sha256, row=next(published, source.row))


def _checked_hash(path: Path) -> str:
    facts = path.stat()
    return _hash_of(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_of(path: Path, size: int, time_ns: int) -> str:
    return hub.check_blob(path)
