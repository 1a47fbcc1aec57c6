"""A CLIP from a name, a file or a folder: where its weights are, what says how they are run, and the model.

Nothing is guessed: weights are refused if nothing says how they are run, or two things contradict each other.
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from modprompt.clip import build, hub, known, open_clips, package, tokenizers, transformers_names
from modprompt.clip.facts import facts_of, fingerprint, hashing, note
from modprompt.clip.known import ACTIVATIONS, PROMPTED, RESNET, SQUASH, SUFFIXES, Asked, Images, Kinds, Shape
from modprompt.clip.open_clips import CONFIG_FILE, TRANSFORMERS_FILE
from modprompt.clip.tokenizers import POSITIONS, VOCABULARY, ClipTokenizer, FileTokenizer, Tokenizer
from modprompt.clip.towers import CLIP, image_width, joint_width, text_width
from modprompt.errors import UserError
from modprompt.io.arrays import read_arrays
from modprompt.io.files import of_user
from modprompt.io.records import file_hash
from modprompt.io.tensors import read_safetensors, read_shards, read_tensors

LOG = logging.getLogger("modprompt")
OPENAI, OPEN_CLIP, TRANSFORMERS, BARE = "openai", "open_clip", "transformers", "bare"
_INDEX = ".index.json"  # behind the name of a file of weights that is in several
_OPEN_CLIP = ("open_clip_model.safetensors", *(f"open_clip_pytorch_model{one}" for one in SUFFIXES[:3]))
_TRANSFORMERS = ("model.safetensors", "pytorch_model.bin")
_TEXT_FOLDER = "text_config"
_UNUSED = {"roberta": 2, "xlm-roberta": 2}  # positions: theirs begin after the padding id
_DERIVED = (".attn_mask", "attn_mask", ".position_ids")  # each model computes its own
_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_RUN_EMBEDDED = (
    f"To use the bundled small CLIP model instead, set --backbone {known.EMBEDDED} (for the scripts: CFG=glyph)."
)
_NOT_ASKED = (
    "MODEL.BACKBONE.ACTIVATION, HEADS and MODEL only apply to weights without a config, but {} describes these "
    "weights. Remove these settings."
)


class Source(NamedTuple):
    """Where weights are, and how they are run."""

    asked: Asked
    name: str  # as it was asked for, a hub's with the commit that was used; empty for a file
    weights: Path  # the file, or an index of several
    dialect: str  # who says how they are run: openai (also the embedded model), open_clip, transformers; bare: the user
    model: dict[str, Any]  # open_clip's model_cfg; empty for openai and bare
    images: Images  # how its images are made; their size is 0 if only the tensors say it
    sha256: str = ""  # of OpenAI's file
    commit: str = ""  # of a hub's repository

    @property
    def called(self) -> str:
        """The name of the weights in messages."""
        return self.name or str(self.weights)


def find(asked: Asked) -> Source:
    """The source of a CLIP, downloaded if need be; UserError if there is none, or nothing says how it is run."""
    if asked.activation not in ("", *ACTIVATIONS):
        raise UserError(f"MODEL.BACKBONE.ACTIVATION must be {' or '.join(ACTIVATIONS)}, got {asked.activation!r}.")
    if len(asked.heads) not in (0, 2) or not all(type(one) is int and one > 0 for one in asked.heads):
        raise UserError(
            f"MODEL.BACKBONE.HEADS must be two whole numbers (text encoder, image encoder), got {asked.heads!r}."
        )
    if asked.path:
        return _of_path(asked)
    if asked.activation or asked.heads or asked.model:
        raise UserError(_NOT_ASKED.format(asked.name))
    name = known.plain(asked.name)
    if known.is_tag(name) or name.startswith(hub.PREFIX):
        return _of_hub(asked)
    known.require(name)
    if name == known.EMBEDDED:
        return Source(asked, name, known.EMBEDDED_FILE, OPENAI, {}, Images(32))
    row = known.OPENAI[name]
    return Source(asked, name, _openai_file(name), OPENAI, {}, Images(row.pixels), row.sha256)


def describes_itself(path: str) -> bool:
    """Whether something other than the user's options says how a file or folder of weights is run."""
    try:
        return find(Asked(path=path)).dialect != BARE
    except UserError:
        return False


class Architecture(NamedTuple):
    """How the weights of a registered CLIP are run, for a file of the same architecture."""

    activation: str  # quick_gelu or gelu
    heads: tuple[int, int]  # numbers of attention heads: (text side, image side)
    shape: Shape


def architecture_of(name: str) -> Architecture | None:
    """Return the architecture of a registered CLIP; None for one of open_clip's that is not of OpenAI's design.

    Raises:
        UserError: if there is no such CLIP, or it is a repository of a hub, whose files alone say it.
    """
    tag, name = known.require(name), known.plain(name)
    if name.startswith(hub.PREFIX):
        raise UserError(
            f"--backbone {name} is a repository of the Hugging Face hub, and its architecture is not known before its "
            "files are downloaded. Specify a registered CLIP model (`modprompt backbones` lists them), or set "
            "MODEL.BACKBONE.MODEL to the name of the architecture in open_clip."
        )
    if tag is None:
        shape = shape_of(read_embedded(), name) if name == known.EMBEDDED else known.shape_of_openai(name)
        return Architecture(known.QUICK_GELU, shape.heads, shape)
    if not open_clips.is_stock(tag.model):
        return None
    text, image, width = tag.model["text_cfg"], tag.model["vision_cfg"], tag.model["vision_cfg"]["width"]
    is_resnet = isinstance(image["layers"], list)
    layers = text["layers"], 0 if is_resnet else image["layers"]
    patch = 0 if is_resnet else image["patch_size"]
    shape = Shape(tag.images.size, patch, layers, (text["width"], width), tag.model["embed_dim"])
    heads = text["heads"], width // 2 if is_resnet else width // image["head_width"]
    return Architecture(known.QUICK_GELU if tag.model["quick_gelu"] else known.GELU, heads, shape)


def shape_of(state: Mapping[str, Tensor], where: str) -> Shape:
    """Return the sizes that the tensors of a CLIP of OpenAI's design show; UserError if they make up none."""
    try:
        stem, projection = state["visual.conv1.weight"], state["text_projection"]
        is_resnet = "visual.attnpool.positional_embedding" in state
        widths = projection.shape[0], len(stem) * 2 if is_resnet else len(stem)  # a ResNet's stem is half as wide
        layers = _layers(state, "transformer"), _layers(state, "visual.transformer")
        patch = 0 if is_resnet else stem.shape[-1]
        return Shape(_pixels(state, where), patch, layers, widths, projection.shape[1])
    except (KeyError, IndexError) as error:
        raise UserError(
            f"{where}: these weights do not form a CLIP model of OpenAI's architecture (the tensor {error} is missing "
            "or damaged). Download the weights again."
        ) from None


def require_shape(asked: Asked, name: str, shape: Shape) -> None:
    """Raise UserError unless the tensors of a file have the sizes of a registered CLIP."""
    found = find(asked)
    odd = shape_of(_read(found), found.called).differences(shape)
    if odd:
        raise UserError(
            f"{found.called} does not have the architecture of --backbone {name}: its tensors have {'; '.join(odd)}. "
            "Set --backbone to the CLIP model from which the weights come."
        )


def _openai_file(name: str) -> Path:
    path: Path = of_user("~/.cache/clip") / f"{name.replace('/', '-').replace('@', '-')}.pt"
    if path.is_file():
        return path  # its SHA-256 is compared when it is read
    clip = package.import_clip()
    try:
        return Path(clip._download(clip._MODELS[name], str(path.parent)))
    except (OSError, RuntimeError, KeyError) as error:  # an old package does not know all names
        raise UserError(
            f"The weights of {name} are not at {path}, and the download failed ({error}). Save the weights at this "
            f"path, or set MODEL.BACKBONE.PATH to their file. {_RUN_EMBEDDED}"
        ) from None


def _of_hub(asked: Asked) -> Source:
    """Of open_clip's pretrained tag, or a repository that says itself how its weights are run."""
    tag = known.require(asked.name)
    names: Sequence[str] = ()
    if tag is not None:
        names = (tag.file,) if tag.file else _OPEN_CLIP
        if tag.model["text_cfg"].get("hf_tokenizer_name"):
            package.transformers()  # before the download
        if tag.differ:
            warnings.warn(
                f"{tag.name}: open_clip specifies different activation functions for the pretrained tag and for the "
                "model config. The model uses quick_gelu.",
                stacklevel=2,
            )
    repo, revision = cast(tuple[str, str], known.repository(asked.name))
    weights, commit = _fetched(asked.name, repo, revision, lambda there: _wanted(there, names))
    if tag is not None:
        return Source(asked, tag.name, weights, OPEN_CLIP, tag.model, tag.images, commit=commit)
    return _of_weights(asked, weights)._replace(name=f"{hub.PREFIX}{repo}@{commit}", commit=commit)


def _fetched(name: str, repo: str, revision: str, choose: hub.Choose) -> tuple[Path, str]:
    """The first of the chosen files of a repository, all of which are then in the cache, and the commit; it is said."""
    there = hub.snapshot(repo, revision, choose)
    first = choose(there.files())[0]
    LOG.warning("%s: %s of %s at commit %s", name, first, repo, there.commit)  # shown without a logging setup
    return there.folder / first, there.commit


def _of_path(asked: Asked) -> Source:
    path = of_user(asked.path)
    try:
        if not path.exists():
            at = f"The weights of CLIP at {path} (MODEL.BACKBONE.PATH or --clip) do not exist. Check the path."
            is_name = not known.named(asked.path).path
            more = f" To name a CLIP model, set --backbone (MODEL.BACKBONE.NAME). {_RUN_EMBEDDED}" if is_name else ""
            raise UserError(f"{at}{more}")
        if path.is_dir():
            path = path / _pick([one.name for one in path.iterdir() if one.is_file()], asked.path)
        return _of_weights(asked, path)
    except OSError as error:
        raise UserError(
            f"MODEL.BACKBONE.PATH {path} cannot be read ({error.strerror}). Check its permissions."
        ) from None


def _of_weights(asked: Asked, weights: Path) -> Source:
    """A file of weights by what stands beside it, its hash, or the options."""
    own, others = weights.parent / CONFIG_FILE, weights.parent / TRANSFORMERS_FILE
    is_others = others.is_file() and (weights.name.removesuffix(_INDEX) in _TRANSFORMERS or not own.is_file())
    found: Callable[..., Source] = partial(Source, asked, "", weights)
    if is_others or own.is_file():
        if asked.activation or asked.heads or asked.model:
            raise UserError(_NOT_ASKED.format(others if is_others else own))
        if is_others:
            return found(TRANSFORMERS, *transformers_names.read(weights.parent))
        return found(OPEN_CLIP, *open_clips.of_file(own))
    if bool(asked.activation) != bool(asked.heads) or (asked.model and asked.heads):
        raise UserError(
            "Weights without a config need additional settings. Set either both MODEL.BACKBONE.ACTIVATION and "
            "MODEL.BACKBONE.HEADS, or only MODEL.BACKBONE.MODEL."
        )
    if asked.model:
        return found(OPEN_CLIP, *open_clips.of_name(asked.model))
    if asked.heads:
        return found(BARE, {}, Images(stated=False))
    digest = file_hash(weights) if weights.suffix in (".pt", ".pth") else ""
    row = next((one for one in known.OPENAI.values() if one.sha256 == digest), None)
    if row is None:
        raise UserError(
            f"The activation and the attention heads of {weights} are unknown, because the file has no config. Put "
            "the config that belongs to the weights into the same folder, or set MODEL.BACKBONE.MODEL (in Python: "
            "model=) to open_clip's name of the model. Alternatively, set MODEL.BACKBONE.ACTIVATION (activation=) to "
            "quick_gelu or gelu and MODEL.BACKBONE.HEADS (heads=) to the heads of the text and image encoder, which "
            "are 64 wide in most models. With `modprompt train`, --backbone NAME can also name a registered CLIP "
            "model of the same architecture."
        )
    return found(OPENAI, {}, Images(row.pixels), digest)


def _wanted(there: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    """The files of a repository that are needed, the weights first; without names some must say how they are run."""
    weights = _pick(there, "the repository", names)
    if not names and not {CONFIG_FILE, TRANSFORMERS_FILE} & set(there):
        raise UserError(
            f"the repository contains no description of the model: both {CONFIG_FILE} and {TRANSFORMERS_FILE} are "
            "missing"
        )
    stem, _, ending = weights.removesuffix(_INDEX).rpartition(".")
    shards = [one for one in there if one.startswith(f"{stem}-") and one.endswith(f".{ending}")]
    needed = [weights, *(shards if weights.endswith(_INDEX) else [])]
    return [*needed, *(one for one in there if one.endswith((".json", ".txt", ".model")) and one != weights)]


def _pick(there: Sequence[str], where: str, names: Sequence[str] = ()) -> str:
    """The file with the weights: one of these names, or open_clip's own, then transformers', then the only one."""
    for one in names or (*_OPEN_CLIP, *_TRANSFORMERS):
        for name in (one, one + _INDEX):
            if name in there:
                return name
    files = sorted(one for one in there if one.endswith(SUFFIXES) and "/" not in one)
    if len(files) != 1:
        listed = ", ".join(files) or "none"
        raise UserError(
            f"{where} must contain exactly one file of weights ({', '.join(SUFFIXES)}), but contains {listed}. Set "
            "the path to one file."
        )
    return files[0]


def _tokenizer_of(found: Source) -> Tokenizer:
    """The tokenizer of open_clip's model; from here on its model_cfg names the folder of a text side's config.

    Raises UserError if a file is missing, or belongs to another CLIP.
    """
    part: dict[str, Any] = found.model["text_cfg"]
    folder, side, name = found.weights.parent, part.get("hf_model_name"), part.get("hf_tokenizer_name")
    if side:
        config = folder / _TEXT_FOLDER / TRANSFORMERS_FILE
        if not config.is_file():
            lacking = (
                f"{_TEXT_FOLDER}/{TRANSFORMERS_FILE}, the config of the text encoder {side}, is missing in the folder "
                f"of the weights. Copy the config from the repository {side}."
            )
            config = _named(found, str(side), lacking, (TRANSFORMERS_FILE,))
        part["hf_model_name"] = str(config.parent)
    text, given = open_clips.text_config(found.model), part.get("tokenizer_kwargs") or {}
    length, vocabulary = part.get("context_length", POSITIONS), (text or part).get("vocab_size", VOCABULARY)
    if not name:
        if text or vocabulary != VOCABULARY or given:
            raise UserError(
                f"{found.called}: the config does not specify a tokenizer (text_cfg.hf_tokenizer_name), and CLIP's "
                "own tokenizer does not fit this text encoder. Add text_cfg.hf_tokenizer_name to the config."
            )
        return ClipTokenizer(length)
    kind = str(text.get("model_type"))
    if text and length > text.get("max_position_embeddings", length) - _UNUSED.get(kind, 0):
        raise UserError(
            f"{found.called}: the context_length is {length}, but the text encoder has fewer positions. Correct the "
            "config."
        )
    end = part.get("eos_id", 2) if part.get("pool_type") == "eos" and not text else None
    padding = text.get("pad_token_id", 0 if kind == "bert" else 1) if text else None
    padding = part.get("pad_id", 0) if part.get("embed_cls") else padding
    if known.is_tag(found.name) or not any((folder / one).is_file() for one in tokenizers.CARRIERS):
        files = ", ".join((*tokenizers.CARRIERS, *tokenizers.SETTINGS))
        lacking = (
            f"the tokenizer of {name} is missing in the folder of the weights. Copy those of the following files that "
            f"exist in the repository {name}: {files}."
        )
        more = (*tokenizers.SETTINGS, TRANSFORMERS_FILE)
        folder = _named(found, str(name), lacking, tokenizers.CARRIERS, more).parent
    tokenizer = FileTokenizer(folder, length, **given)
    tokenizer.require_fitting(str(folder), vocabulary, padding, end)
    return tokenizer


def _named(found: Source, repo: str, lacking: str, needed: Sequence[str], more: Sequence[str] = ()) -> Path:
    """One of the needed files of a repository that open_clip's own config names; other configs get nothing."""
    if not known.is_tag(found.name):
        raise UserError(f"{found.called}: {lacking}")

    def choose(there: Sequence[str]) -> list[str]:
        if not any(one in there for one in needed):
            raise UserError(f"the repository has none of the files {', '.join(needed)}.")
        return [one for one in (*needed, *more) if one in there]

    return _fetched(found.called, repo, "", choose)[0]


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
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip_model = load(known.named(str(name))._replace(activation=activation, heads=tuple(heads), model=model)).eval()
    clip_model = (clip_model.float() if place.type == "cpu" else clip_model).to(place)
    return clip_model, transform_of(clip_model)


def load(asked: Asked) -> CLIP:
    """A CLIP in eval mode, with its facts and its `fingerprint`; raises as load_clip.

    What the `clip` package can build, it builds, and draws from torch's generator as in the family; open_clip's models
    draw nothing.
    """
    found = find(asked)
    known.note(asked)
    try:
        by_clip = not found.model or open_clips.is_clips(found.model)
        tokenizer = ClipTokenizer() if by_clip else _tokenizer_of(found)  # before weights are read, which takes longer
    except TypeError as error:
        raise UserError(
            f"{found.called}: the config is not supported ({error}). Use a model that open_clip supports."
        ) from None
    if by_clip:
        state = _read(found)
        with hashing(state) as fingerprint_of:
            clip_model = build.build_clip(state, asked.activation, asked.heads)
            clip_model.fingerprint = fingerprint_of(clip_model)
        _require_sizes(clip_model, found)
    else:
        clip_model = cast(CLIP, open_clips.build(found.model, _read(found), tokenizer, found.called))
        clip_model.fingerprint = fingerprint(clip_model.state_dict(), clip_model)
    note(
        clip_model, found.images, name=found.name, file="" if found.name else of_user(asked.path).resolve().name,
        dialect=found.dialect, commit=found.commit, sha256=found.sha256, model=asked.model,
    )  # fmt: skip
    return clip_model


def _require_sizes(clip_model: CLIP, found: Source) -> None:
    """Raise UserError unless tensors, off which the `clip` package reads sizes, are those of the config."""
    sizes = [("vocab_size", VOCABULARY, clip_model.token_embedding.num_embeddings)]
    if found.model:
        text, image = found.model["text_cfg"], found.model["vision_cfg"]
        (texts, images), width = build.layers_of(clip_model), image_width(clip_model)
        sizes += [
            ("embed_dim", found.model["embed_dim"], joint_width(clip_model)),
            ("text_cfg.layers", text["layers"], texts),
            ("text_cfg.width", text["width"], text_width(clip_model)),
            ("vision_cfg.layers", image["layers"], images or image["layers"]),  # a ResNet has none
            ("vision_cfg.width", image["width"], width if images else 2 * width),  # its stem is half as wide
            ("image_size", found.images.size, clip_model.visual.input_resolution),
        ]
    for name, said, has in sizes:
        if said != has:
            raise UserError(
                f"{found.called}: {name} is {has} in the weights, but {said} in the config. Use the config that "
                "belongs to the weights."
            )


def _read(found: Source) -> dict[str, Tensor]:
    """The tensors of a source under OpenAI's names, or open_clip's: without wrappers, and what each model computes."""
    if found.weights == known.EMBEDDED_FILE:
        return read_embedded()
    where, code = found.called, found.sha256
    content = read_tensors(found.weights, (code,)) if code else _content(found.weights)
    content = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping):
        raise UserError(
            f"{where} is not the state dict of a CLIP model, because the file contains no named tensors. Check the "
            "path."
        )
    cut = len("module.") * all(str(name).startswith("module.") for name in content)  # DataParallel's
    state: dict[str, Tensor] = {str(name)[cut:]: value for name, value in content.items()}
    del content
    for name, value in list(state.items()):  # one after the other: both forms of all would need too much memory
        if name in build.BOOKKEEPING or name.endswith(_DERIVED):
            del state[name]
            continue
        plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not (plain and (value.dtype in _TYPES or name.endswith(".num_batches_tracked"))):
            raise UserError(
                f"{where} is not the state dict of a CLIP model, because {name} is not a dense tensor of a supported "
                "type. Check the path."
            )
        if value.dtype == torch.bfloat16:
            state[name] = value.float()
        if name in ("logit_scale", "logit_bias") and value.numel() == 1:
            state[name] = state[name].reshape(())  # in some of open_clip's it is a vector of one
    if found.dialect == TRANSFORMERS:
        return transformers_names.to_openai(state, where)
    if not found.model or open_clips.is_stock(found.model):  # open_clip's custom_text
        return {name.removeprefix("text."): value for name, value in state.items()}
    return state


def _content(path: Path) -> Any:
    if path.name.endswith(_INDEX):
        return read_shards(path, _content)
    if path.suffix == ".json":
        raise UserError(
            f"{path} is a config file, not a weights file. Set the path to the weights file, or to the folder that "
            "contains the config and the weights."
        )
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_tensors(path)


def read_embedded() -> dict[str, Tensor]:
    """State dict of the embedded model; words that its training never used have zero embeddings."""
    try:
        arrays = {name: torch.from_numpy(array) for name, array in read_arrays(known.EMBEDDED_FILE).items()}
        rows, size = arrays.pop("token_embedding.rows"), int(arrays.pop("token_embedding.size"))
        table = rows.new_zeros(size, rows.shape[1])
        table[arrays.pop("token_embedding.ids").long()] = rows
    except Exception:
        raise UserError(
            f"The bundled model {known.EMBEDDED_FILE} is missing or damaged. Install modprompt again, or restore the "
            "file with git."
        ) from None
    return {**arrays, "token_embedding.weight": table}


def images_of(asked: Asked) -> Images:
    """How a CLIP's images are made, with their size; only what will be read later anyway is downloaded.

    Raises UserError as find, and if a bare file is not a CLIP's.
    """
    name = known.plain(asked.name)
    if not asked.path and name in known.OPENAI:
        return Images(known.OPENAI[name].pixels)
    tag = None if asked.path else known.require(name)
    if tag is not None:
        return cast(Images, tag.images)
    found = find(asked)
    return found.images if found.images.size else found.images._replace(size=_of_tensors(asked)[0])


def kinds_and_layers(asked: Asked) -> tuple[Kinds, tuple[int, int]] | None:
    """As known.kinds_and_layers, also for a file or folder. Raises as images_of."""
    if not asked.path:
        return known.kinds_and_layers(asked.name)
    found = find(asked)
    if found.model:
        return open_clips.kinds_of(found.model), open_clips.layers_of(found.model)
    of_row = (row.layers for row in known.OPENAI.values() if found.sha256 and row.sha256 == found.sha256)
    layers = next(of_row, None) or _of_tensors(asked)[1]
    return Kinds(image=PROMPTED if layers[1] else RESNET), layers


def _of_tensors(asked: Asked) -> tuple[int, tuple[int, int]]:
    return _sizes(asked, known.seen(asked)["looks"])


@lru_cache(maxsize=8)
def _sizes(asked: Asked, looks: str) -> tuple[int, tuple[int, int]]:
    """The side of a bare file's images and its numbers of layers; read once as long as the file looks so."""
    found = find(asked)
    state = _read(found)
    return _pixels(state, found.called), (_layers(state, "transformer"), _layers(state, "visual.transformer"))


def _layers(state: Mapping[str, Tensor], side: str) -> int:
    start = f"{side}.resblocks."
    return len({name.removeprefix(start).partition(".")[0] for name in state if name.startswith(start)})


def _pixels(state: Mapping[str, Tensor], where: str) -> int:
    """The side of a CLIP's images, by OpenAI's names."""
    try:
        if "visual.attnpool.positional_embedding" in state:
            places, patch = len(state["visual.attnpool.positional_embedding"]), 32
        else:
            places, patch = len(state["visual.positional_embedding"]), state["visual.conv1.weight"].shape[-1]
    except KeyError as error:
        raise UserError(
            f"{where}: these weights do not form a CLIP model, because the tensor {error} is missing. Check whether "
            "the file is complete."
        ) from None
    return int(round((places - 1) ** 0.5)) * patch


def transform_of(clip_model: CLIP) -> Callable[..., Tensor]:
    """The transform from a PIL image to (3, H, W), as this CLIP's images are made.

    Raises UserError for a module from elsewhere, whose images are not known.
    """
    facts = facts_of(clip_model)
    if not facts.mean:
        raise UserError(
            "The preprocessing of images for this CLIP model is unknown. Use the transform that belongs to the model."
        )
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
