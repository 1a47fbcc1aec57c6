"""Kinds of image-text models that are known and not run: what each is; docs/backbones.md has what it would need."""

from typing import Dict

from modprompt.errors import UserError

SIGLIP, EVA, COCA, TIMM, BERT_TEXT, CLIPA, WORLDWIDE = (
    "siglip", "eva", "coca", "timm", "bert_text", "clipa", "worldwide",
)  # fmt: skip
FAMILIES: Dict[str, str] = {
    SIGLIP: "a SigLIP (attention pooling, no class token, no causal mask, a vocabulary of its own, sigmoid loss)",
    EVA: "an EVA CLIP (an image tower of its own, some with rotary positions and SwiGLU)",
    COCA: "a CoCa (attention pooling, a class token behind the text, a caption decoder)",
    TIMM: "a CLIP with an image tower of timm (ConvNeXt, ViTamin, MobileCLIP, PE and the like)",
    BERT_TEXT: "a CLIP with a BERT or multilingual text tower (no causal mask, a vocabulary of its own)",
    CLIPA: "a CLIPA (average pooling, no ln_pre, no causal mask, another tokenizer)",
    WORLDWIDE: "a MetaCLIP 2 worldwide (a multilingual vocabulary with an end token of its own)",
}


def refused(where: str, family: str, sign: str = "") -> UserError:
    """The error for a model of a family that is not run; `sign` says what it was told by."""
    return UserError(reason(f"{where} ({sign})" if sign else where, family))


def reason(what: str, family: str) -> str:
    """Why a model of a family is not run, in one line."""
    return f"{what} is {FAMILIES[family]}: such models are not run, see docs/backbones.md"
