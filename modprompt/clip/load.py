"""A CLIP from a name, a file or a folder: where its weights are, what says how they are run, and the model.

Nothing is guessed: weights are refused if nothing says how they are run, or two things contradict each other.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from modprompt.clip import build, hub, known, open_clips, package, tokenizers, transformers_names
from modprompt.clip.facts import facts_of, fingerprint, hashing, note
from modprompt.clip.known import ACTIVATIONS, SQUASH, Asked, Images
from modprompt.clip.open_clips import CONFIG_FILE, POSITIONS, TRANSFORMERS_FILE, VOCABULARY
from modprompt.clip.package import import_clip
from modprompt.clip.tokenizers import ClipTokenizer, FileTokenizer, Tokenizer
from modprompt.clip.towers import CLIP
from modprompt.errors import UserError
from modprompt.io.arrays import read_all_arrays
from modprompt.io.files import of_user
from modprompt.io.records import file_hash
from modprompt.io.tensors import read_safetensors, read_shards, read_tensors

LOG = logging.getLogger("modprompt")
OPENAI, OPEN_CLIP, TRANSFORMERS, BARE = "openai", "open_clip", "transformers", "bare"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".tar")
_RUN_EMBEDDED = f"`modprompt train --trainer MPL` alone, or MODEL.BACKBONE.NAME {known.EMBEDDED}, runs the embedded one"
_OPEN_CLIP = (
    "open_clip_model.safetensors", "open_clip_model.safetensors.index.json", "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin", "open_clip_pytorch_model.bin.index.json", "open_clip_pytorch_model.pt",
)  # fmt: skip
_TRANSFORMERS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
TEXT_FOLDER = "text_config"
_UNUSED = {"roberta": 2, "xlm-roberta": 2}  # positions: theirs begin after the padding id
_HOW_TO_SAY = (
    "give open_clip's name of the model, MODEL.BACKBONE.MODEL, in Python model=; or MODEL.BACKBONE.ACTIVATION "
    "(quick_gelu or gelu) and MODEL.BACKBONE.HEADS (text side, image side; a head is 64 wide in most), in Python "
    "activation= and heads=; or put the configs that came with it into its folder"
)
_NOT_ASKED = (
    "MODEL.BACKBONE.ACTIVATION, HEADS and MODEL are for weights from MODEL.BACKBONE.PATH that nothing else describes: "
    "{} already says it"
)


class Source(NamedTuple):
    """Where weights are, and how they are run."""

    asked: Asked
    name: str  # as it was asked for, a hub's with the commit that was used; empty for a file
    file: str  # base name of the file or folder that was given; empty for a name
    weights: Path | None  # the file, or an index of several; None for the embedded model
    dialect: str  # who says how they are run: openai (also the embedded model), open_clip, transformers; bare: the user
    model: dict[str, Any] | None  # open_clip's model_cfg; None for openai and bare
    images: Images  # how its images are made; their size is 0 if only the tensors say it
    sha256: str = ""  # of OpenAI's file
    commit: str = ""  # of a hub's repository
    trusted: bool = False  # other repositories that its model_cfg names may be asked for: it is open_clip's own

    @property
    def called(self) -> str:
        """The name of the weights in messages."""
        return str(self.weights) if self.file else self.name


def find(asked: Asked) -> Source:
    """The source of a CLIP, downloaded if need be; UserError if there is none, or nothing says how it is run."""
    if asked.activation not in ("", *ACTIVATIONS):
        raise UserError(f"MODEL.BACKBONE.ACTIVATION must be {' or '.join(ACTIVATIONS)}, got {asked.activation!r}")
    if len(asked.heads) not in (0, 2) or not all(type(one) is int and one > 0 for one in asked.heads):
        raise UserError(f"MODEL.BACKBONE.HEADS must be two whole numbers, (text side, image side), got {asked.heads!r}")
    if asked.path:
        return _of_path(asked)
    if asked.activation or asked.heads or asked.model:
        raise UserError(_NOT_ASKED.format(asked.name))
    name = known.plain(asked.name)
    found = known.require(name)
    if found is not None:
        return _of_tag(asked, found)
    if name.startswith(hub.PREFIX):
        return _of_hub(asked)
    if name == known.EMBEDDED:
        return Source(asked, name, "", None, OPENAI, None, Images(32))
    row = known.OPENAI[name]
    return Source(asked, name, "", _openai_file(name), OPENAI, None, Images(row.pixels), row.sha256)


def describes_itself(path: str) -> bool:
    """Whether something other than the user's options says how a file or folder of weights is run."""
    try:
        return find(Asked(path=path)).dialect != BARE
    except UserError:
        return False


def _openai_file(name: str) -> Path:
    clip = import_clip()
    cache = of_user("~/.cache/clip")
    if name not in clip._MODELS:
        raise UserError(f"the `clip` package at {Path(str(clip.__file__)).parent} does not know {name}")
    url = clip._MODELS[name]
    path: Path = cache / url.rpartition("/")[2]
    if path.is_file():
        return path  # its SHA-256 is compared when it is read
    try:
        return Path(clip._download(url, str(cache)))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"no weights for {name}: {path} is not there and the download failed ({error}); put the file there or give "
            f"MODEL.BACKBONE.PATH; {_RUN_EMBEDDED}"
        ) from None


def _of_tag(asked: Asked, found: open_clips.Tag) -> Source:
    open_clips.tell_activation(found)
    if found.model["text_cfg"].get("hf_tokenizer_name"):
        package.transformers()  # before the download
    names = (found.file,) if found.file else _OPEN_CLIP
    there = hub.snapshot(found.repo, known.at_revision(asked.name)[1], lambda names_there: _wanted(names_there, names))
    weights = there.folder / _pick(there.files(), found.repo, names)
    tell(found.name, [weights.name], there)
    return Source(
        asked, found.name, "", weights, OPEN_CLIP, found.model, found.images, commit=there.commit, trusted=True
    )


def _of_hub(asked: Asked) -> Source:
    repo, revision = hub.parse(asked.name)
    there = hub.snapshot(repo, revision, _wanted)
    weights = there.folder / _pick(there.files(), repo)
    found = _of_weights(asked, weights)
    tell(asked.name, [weights.name, TRANSFORMERS_FILE if found.dialect == TRANSFORMERS else CONFIG_FILE], there)
    return found._replace(name=f"{hub.PREFIX}{repo}@{there.commit}", file="", commit=there.commit)


def _of_path(asked: Asked) -> Source:
    path = of_user(asked.path)
    try:
        if not path.exists():
            if asked.path.startswith(hub.PREFIX) or known.plain(asked.path) in (*known.OPENAI, known.EMBEDDED):
                raise UserError(f"MODEL.BACKBONE.PATH: {path} is a name: give it with --backbone (MODEL.BACKBONE.NAME)")
            raise UserError(f"MODEL.BACKBONE.PATH: no file or folder at {path}; {_RUN_EMBEDDED}")
        files = [one.name for one in path.iterdir() if one.is_file()] if path.is_dir() else []
        weights = path / _pick(files, asked.path) if path.is_dir() else path
        return _of_weights(asked, weights)._replace(file=path.resolve().name)
    except OSError as error:
        raise UserError(f"MODEL.BACKBONE.PATH: cannot read {path} ({error.strerror})") from None


def _of_weights(asked: Asked, weights: Path) -> Source:
    """A file of weights by what stands beside it, its hash, or the options."""
    own, others = weights.parent / CONFIG_FILE, weights.parent / TRANSFORMERS_FILE
    is_others = others.is_file() and (weights.name in _TRANSFORMERS or not own.is_file())
    found: Callable[..., Source] = partial(Source, asked, "", weights.name, weights)
    if is_others or own.is_file():
        if asked.activation or asked.heads or asked.model:
            raise UserError(_NOT_ASKED.format(others if is_others else own))
        if is_others:
            return found(TRANSFORMERS, *transformers_names.read(weights.parent))
        return found(OPEN_CLIP, *open_clips.of_file(own))
    if asked.model:
        if asked.activation or asked.heads:
            raise UserError("MODEL.BACKBONE.MODEL says activation and heads: leave out ACTIVATION and HEADS")
        return found(OPEN_CLIP, *open_clips.of_name(asked.model))
    if asked.activation and asked.heads:
        return found(BARE, None, Images(stated=False))
    if asked.activation or asked.heads:
        raise UserError(f"{weights}: give both MODEL.BACKBONE.ACTIVATION and MODEL.BACKBONE.HEADS")
    digest = file_hash(weights) if weights.suffix in (".pt", ".pth") else ""
    row = next((one for one in known.OPENAI.values() if one.sha256 == digest), None)
    if row is None:
        raise UserError(f"{weights} does not say how it is run: {_HOW_TO_SAY}")
    return found(OPENAI, None, Images(row.pixels), digest)


def _wanted(there: Sequence[str], preferred: Sequence[str] = ()) -> list[str]:
    """The files of a repository that are needed: its weights, and without a tag all that says how they are run."""
    weights = _pick(there, "it", preferred)
    stem, _, ending = weights.removesuffix(".index.json").rpartition(".")
    shards = [one for one in there if one.startswith(f"{stem}-") and one.endswith(f".{ending}")]
    needed = [weights, *(shards if weights.endswith(".json") else [])]
    if preferred:
        return needed
    if not {CONFIG_FILE, TRANSFORMERS_FILE} & set(there):
        raise UserError(f"it has neither {CONFIG_FILE} nor {TRANSFORMERS_FILE}, which say how its weights are run")
    more = (CONFIG_FILE, TRANSFORMERS_FILE, *transformers_names.IMAGES_FILES, f"{TEXT_FOLDER}/{TRANSFORMERS_FILE}")
    return [*needed, *(one for one in (*more, *tokenizers.FILES) if one in there)]


def _pick(there: Sequence[str], where: str, preferred: Sequence[str] = ()) -> str:
    """The file with the weights: open_clip's own first, then transformers', then the only one."""
    files = sorted(one for one in there if one.endswith(SUFFIXES) and "/" not in one)
    for one in preferred or (*_OPEN_CLIP, *_TRANSFORMERS):
        if one in there:
            return one
    if len(files) != 1:
        listed = ", ".join(files) or "nothing"
        raise UserError(f"{where} must hold one file of weights ({', '.join(SUFFIXES)}), there is: {listed}")
    return files[0]


def tell(name: str, files: Sequence[str], there: hub.Snapshot) -> None:
    """Say which commit of a repository a CLIP's files come from, at a level that is shown without a logging setup."""
    LOG.warning("%s: %s of %s at commit %s", name, ", ".join(files), there.repo, there.commit)


# ---------------------------------------------------------------------- texts


def text_folder(found: Source) -> Path | None:
    """The folder with the config.json of a text side that is transformers', UserError if it lacks; None for others."""
    name = (found.model or {}).get("text_cfg", {}).get("hf_model_name")
    if not name or found.weights is None:
        return None
    folder = found.weights.parent / TEXT_FOLDER
    if not (folder / TRANSFORMERS_FILE).is_file():
        lacking = f"it needs {TEXT_FOLDER}/{TRANSFORMERS_FILE} in its folder, the config of its text side {name}"
        folder = _named(found, str(name), _config_in, lacking)
    open_clips.text_config(folder / TRANSFORMERS_FILE)
    return folder


def _config_in(there: Sequence[str]) -> list[str]:
    if TRANSFORMERS_FILE not in there:
        raise UserError(f"it has no {TRANSFORMERS_FILE}")
    return [TRANSFORMERS_FILE]


def tokenizer_of(found: Source, text: Path | None) -> Tokenizer:
    """The tokenizer of a source, `text` of text_folder; UserError if it is missing, or belongs to another CLIP."""
    part: dict[str, Any] = (found.model or {}).get("text_cfg", {})
    length, vocabulary = part.get("context_length", POSITIONS), part.get("vocab_size", VOCABULARY)
    name, given = part.get("hf_tokenizer_name"), part.get("tokenizer_kwargs") or {}
    if not name:
        if text is not None or vocabulary != VOCABULARY or given:
            raise UserError(
                f"{found.called}: its config names no tokenizer (text_cfg.hf_tokenizer_name), and CLIP's does not fit "
                "this text side"
            )
        return ClipTokenizer(length)
    padding, end = None, None
    if text is not None:
        of_text = open_clips.text_config(text / TRANSFORMERS_FILE)
        vocabulary = of_text.get("vocab_size", 0)
        kind = of_text.get("model_type")
        padding = of_text.get("pad_token_id", 0 if kind == "bert" else 1)
        most = of_text.get("max_position_embeddings", length) - _UNUSED.get(str(kind), 0)
        if length > most:
            raise UserError(f"{found.called}: context_length is {length}, but its text side has {most} positions")
    elif part.get("pool_type") == "eos":
        end = part.get("eos_id", 2)
    if part.get("embed_cls"):
        padding = part.get("pad_id", 0)
    files = ", ".join(tokenizers.FILES)
    lacking = f"it needs the tokenizer of {name} in its folder: copy its files ({files}: all that exist)"
    assert found.weights is not None  # the embedded model has no model_cfg
    folder = found.weights.parent
    if found.trusted or not any((folder / one).is_file() for one in tokenizers.CARRIERS):
        folder = _named(found, str(name), _tokenizer_in, lacking)
    tokenizer = FileTokenizer(folder, length, **given)
    tokenizer.require_fitting(str(folder), vocabulary, padding, end)
    return tokenizer


def _tokenizer_in(there: Sequence[str]) -> list[str]:
    if not any(one in there for one in tokenizers.CARRIERS):
        raise UserError(f"it has no tokenizer: none of {', '.join(tokenizers.CARRIERS)}")
    return [one for one in (*tokenizers.FILES, TRANSFORMERS_FILE) if one in there]


def _named(found: Source, name: str, choose: hub.Choose, lacking: str) -> Path:
    """The snapshot of a repository that open_clip's own config names; for other configs nothing is asked for."""
    if not found.trusted:
        raise UserError(f"{found.called}: {lacking}")
    there = hub.snapshot(name, "", choose)
    tell(found.called, choose(there.files()), there)
    return there.folder


_DERIVED = (".attn_mask", "attn_mask", ".position_ids")  # each model computes its own
_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def load_clip(
    name: str | Path = "ViT-B/16",
    device: str | torch.device | None = None,
    *,
    activation: str = "",
    heads: Sequence[int] = (),
    model: str = "",
) -> tuple[CLIP, Callable[..., Tensor]]:
    """A CLIP in eval mode, and the transform of its images: from a PIL image to (3, H, W).

    Args:
        name: a known name (`modprompt backbones` lists them: OpenAI's, "glyph-clip", the small one that ships with the
            package, open_clip's as "ViT-B-16/laion2b_s34b_b88k"), a hub's "hf-hub:owner/name@revision", or a file or
            folder of weights (docs/backbones.md).
        device: where to put it; CUDA if there is any, else the CPU. On a CPU its weights are float32, elsewhere as
            they were saved, OpenAI's half.
        activation: quick_gelu or gelu, for a file of which nothing else says it.
        heads: likewise, numbers of attention heads: (text side, image side).
        model: likewise, open_clip's name of the model: "ViT-B-16-SigLIP2", or with its tag.

    Raises:
        UserError: on an unknown name, weights that cannot be found or read, or of which nothing says how to run them.
    """
    if not isinstance(name, (str, Path)) or not str(name):
        raise UserError(f"name must be a CLIP's name, or the path of a file or folder, got {name!r}")
    if isinstance(heads, str) or not isinstance(heads, Sequence):
        raise UserError(f"heads must be two whole numbers, (text side, image side), got {heads!r}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = path_of(str(name))
    clip_model = load(Asked("" if path else str(name), path, activation, tuple(heads), model)).eval()
    clip_model = (clip_model.float() if place.type == "cpu" else clip_model).to(place)
    return clip_model, transform_of(clip_model)


def path_of(name: str) -> str:
    """The file or folder that a name means; empty if it is a CLIP's name."""
    path = of_user(name)
    if not known.is_tag(name):
        return ""
    try:
        is_there = path.exists()
    except OSError:  # too long, or in a folder without permission: reported when it is read
        is_there = True
    looks_so = path.suffix in SUFFIXES or name.startswith(("/", "./", "../", "~"))
    return str(path) if is_there or looks_so else ""


def load(asked: Asked) -> CLIP:
    """A CLIP in eval mode, with its facts and its `fingerprint`; raises as load_clip.

    What the `clip` package can build, it builds, and draws from torch's generator as in the family; open_clip's models
    draw nothing.
    """
    found = find(asked)
    known.note(asked)
    state = _read(found)
    model = _model_of(found, state)
    if model is None or open_clips.is_clips(model):
        with hashing(state) as fingerprint_of:
            clip_model = build.build_clip(state)
            clip_model.fingerprint = fingerprint_of(clip_model)
    else:
        text = text_folder(found)
        tokenizer = tokenizer_of(found, text)
        clip_model = cast(CLIP, open_clips.build(model, state, tokenizer, found.called, text))
        clip_model.fingerprint = fingerprint(clip_model.state_dict(), clip_model)
    note(
        clip_model,
        found.images,
        name=found.name,
        file=found.file,
        dialect=found.dialect,
        commit=found.commit,
        sha256=found.sha256,
        model=asked.model,
    )
    return clip_model


def _read(found: Source) -> dict[str, Tensor]:
    """The tensors of a source under OpenAI's names, or open_clip's."""
    if found.weights is None:
        return read_embedded()
    where = found.called
    openai = found.dialect == OPENAI
    state = _plain(read_tensors(found.weights, (found.sha256,)) if openai else _content(found.weights), where)
    if found.dialect == TRANSFORMERS:
        state = transformers_names.to_openai(state, where)
    for name, value in list(state.items()):  # one after the other: both forms of all would need too much memory
        if value.dtype == torch.bfloat16:
            state[name] = value.float()
    stock = found.model is None or (open_clips.is_stock_text(found.model) and open_clips.is_stock_image(found.model))
    if stock and "text.positional_embedding" in state:  # open_clip's custom_text
        state = {name.removeprefix("text."): value for name, value in state.items()}
    for name in ("logit_scale", "logit_bias"):
        if name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(())  # in some of open_clip's it is a vector of one
    return state


def _content(path: Path) -> Any:
    if path.name.endswith(".index.json"):
        return read_shards(path, _content)
    if path.suffix == ".json":
        raise UserError(f"{path} is a config, not weights: give the folder, or the file of weights in it")
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_tensors(path)


def _plain(content: Any, where: str) -> dict[str, Tensor]:
    """The tensors of a saved file by name: without wrappers, and without what each model computes itself."""
    found = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping):
        raise UserError(f"{where} is not the state dict of a CLIP: it holds no tensors by name")
    parallel = all(str(name).startswith("module.") for name in found)  # DataParallel's
    named = ((str(name).removeprefix("module.") if parallel else str(name), value) for name, value in found.items())
    state = {name: value for name, value in named if name not in build.BOOKKEEPING and not name.endswith(_DERIVED)}
    for name, value in state.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not (plain and (value.dtype in _TYPES or name.endswith(".num_batches_tracked"))):
            raise UserError(f"{where} is not the state dict of a CLIP: {name} is no plain tensor of numbers")
    return state


def _model_of(found: Source, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """open_clip's model_cfg of a source, with which its tensors agree; None for OpenAI's and the embedded one."""
    if found.dialect == BARE:
        return _of_tensors(state, found)
    model = found.model
    if model is not None and open_clips.is_clips(model):  # the `clip` package reads sizes off the tensors
        there = _of_tensors(state, found)
        for part in ("", "text_cfg", "vision_cfg"):
            said, has = (model[part], there[part]) if part else (model, {"embed_dim": there["embed_dim"]})
            for name, value in has.items():
                if said[name] != value:
                    raise UserError(f"{found.called}: by its config {name} is {said[name]}, by its tensors {value}")
    return model


def _of_tensors(state: Mapping[str, Tensor], found: Source) -> dict[str, Any]:
    """The model_cfg that a stock CLIP's tensors show; activation and heads are the user's, or of the usual width.

    Raises UserError if they are not a stock CLIP's.
    """
    shapes = {name: tuple(one.shape) for name, one in state.items()}
    heads, where = found.asked.heads, f"{found.called}: these weights do not make up a CLIP"
    try:
        embed = shapes["text_projection"][1]
        text = _transformer(shapes, "transformer", shapes["text_projection"][0])
        text["heads"] = heads[0] if heads else text["width"] // open_clips.HEAD
        if "visual.proj" in shapes:
            width, patch = shapes["visual.conv1.weight"][0], shapes["visual.conv1.weight"][-1]
            image = {**_transformer(shapes, "visual.transformer", width), "patch_size": patch}
        else:
            width = shapes["visual.attnpool.positional_embedding"][1]  # of the attention pool
            image = {"layers": [_layers(shapes, f"visual.layer{stage}") for stage in (1, 2, 3, 4)]}
            image["width"] = width // 32
        image["image_size"] = pixels(shapes)
        words = shapes["positional_embedding"][0], shapes["token_embedding.weight"][0]
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "its projections are not matrices"
        raise UserError(f"{where} ({what}): check MODEL.BACKBONE") from None
    if words != (POSITIONS, VOCABULARY):
        said = f"texts of {words[0]} ids of {words[1]:,}, not CLIP's {POSITIONS} of {VOCABULARY:,}"
        raise UserError(f"{where} ({said}): check MODEL.BACKBONE")
    if heads and (width % heads[1] or text["width"] % heads[0]):
        raise UserError(f"{found.called}: HEADS {heads} do not divide the widths {text['width']} and {width}")
    image["head_width"] = width // heads[1] if heads else open_clips.HEAD
    quick = found.asked.activation != "gelu"
    return {"embed_dim": embed, "quick_gelu": quick, "text_cfg": text, "vision_cfg": image}


def _transformer(shapes: Mapping[str, tuple[int, ...]], side: str, width: int) -> dict[str, Any]:
    hidden = shapes[f"{side}.resblocks.0.mlp.c_fc.weight"][0]
    layers = _layers(shapes, f"{side}.resblocks")
    return {"layers": layers, "width": width, "mlp_ratio": open_clips.ratio(hidden, width)}


def _layers(shapes: Mapping[str, Any], front: str) -> int:
    return len({name[len(front) :].split(".")[1] for name in shapes if name.startswith(f"{front}.")})


def pixels(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The side of a CLIP's images, by OpenAI's names."""
    pool = "visual.attnpool.positional_embedding"
    if pool in shapes:
        return int(round((shapes[pool][0] - 1) ** 0.5)) * 32
    return int(round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)) * shapes["visual.conv1.weight"][-1]


def images_of(asked: Asked) -> Images:
    """How a CLIP's images are made, with their size; only what will be read later anyway is downloaded.

    Raises UserError as find, and if a bare file is not a CLIP's.
    """
    name = known.plain(asked.name)
    if asked.path or name.startswith(hub.PREFIX) or name == known.EMBEDDED:
        return _images_of(find(asked))
    found = known.require(name)
    return found.images if found is not None else Images(known.OPENAI[name].pixels)


def _images_of(found: Source) -> Images:
    if found.images.size:
        return found.images
    return found.images._replace(size=_of_tensors(_read(found), found)["vision_cfg"]["image_size"])


def describe(asked: Asked) -> str:
    """What a CLIP is and what says so, in one line; raises as images_of."""
    found = find(asked)
    if found.weights is None:
        return f"{found.called}, which ships with the package"
    how = f"{found.dialect} weights, {_images_of(found).size} pixels"
    if found.dialect == BARE:
        return f"{found.called}: {how}, {found.asked.activation}, {found.asked.heads} heads (text, image), as given"
    return f"{found.called}: {how}" + (f", {open_clips.activation_of(found.model)}" if found.model else "")


def read_embedded() -> dict[str, Tensor]:
    """State dict of the embedded model; words that its training never used have zero embeddings."""
    try:
        arrays = {name: torch.from_numpy(array) for name, array in read_all_arrays(known.EMBEDDED_FILE).items()}
        rows, size = arrays.pop("token_embedding.rows"), int(arrays.pop("token_embedding.size"))
        table = rows.new_zeros(size, rows.shape[1])
        table[arrays.pop("token_embedding.ids").long()] = rows
    except Exception:
        raise UserError(f"the embedded model {known.EMBEDDED_FILE} is missing or damaged: check it out again") from None
    return {**arrays, "token_embedding.weight": table}


def transform_of(clip_model: CLIP) -> Callable[..., Tensor]:
    """The transform from a PIL image to (3, H, W), as this CLIP's images are made.

    Raises UserError for a module from elsewhere, whose images are not known.
    """
    facts = facts_of(clip_model)
    if not facts.mean:
        raise UserError("nothing says how this CLIP's images are made: use the transform that came with it")
    images = Images(facts.size, facts.mean, facts.std, facts.interpolation, facts.resize)
    return image_transform(images, facts.dialect == TRANSFORMERS)


def image_transform(images: Images, colours_first: bool = False) -> Callable[..., Tensor]:
    """Resize, cut out the centre, normalise; colours become RGB after that cut, as in clip.load, or first."""
    from torchvision import transforms

    size, how = images.size, transforms.InterpolationMode(images.interpolation)
    resize = transforms.Resize([size, size] if images.resize == SQUASH else size, interpolation=how)
    steps = [*([to_rgb] if colours_first else []), resize, transforms.CenterCrop(size), to_rgb, transforms.ToTensor()]
    composed: Callable[..., Tensor] = transforms.Compose([*steps, transforms.Normalize(images.mean, images.std)])
    return composed


def to_rgb(image: Any) -> Any:
    """A PIL image in RGB."""
    return image.convert("RGB")
