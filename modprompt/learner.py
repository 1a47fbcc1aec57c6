"""The modular prompt learner of MPL (arXiv 2502.14125): text prompts, and vision prompts projected from them.

Shapes: c = N_CTX, a = N_ADD_OP, D depth of prompting, T text width, V vision width.
"""

import copy
from typing import Dict, Mapping, NamedTuple, Sequence

import torch
from torch import Tensor, nn

from modprompt.encoders import Additions
from modprompt.errors import UserError
from modprompt.prompts import class_prompts
from modprompt.schedule import Schedule, from_config, modular, replacement


class Prompts(NamedTuple):
    """What the encoders read: class prompts (C, L, T) with their ends (C,), and per layer the tokens to add."""

    text: Tensor
    end: Tensor
    text_additions: Additions
    vision_additions: Additions


class MPLSchedules(NamedTuple):
    """The schedules of both sides of an MPL model."""

    text: Schedule
    vision: Schedule


def mpl_schedules(
    text_layers: int,
    vision_layers: int,
    *,
    n_ctx: int,
    n_add: int,
    n_remove: int,
    depth: int,
    text_steps: Sequence[Sequence[int]] = (),
    vision_steps: Sequence[Sequence[int]] = (),
) -> MPLSchedules:
    """MPL's schedules: text replaces c tokens per layer, vision removes `n_remove` and adds n_add * n_ctx.

    Args:
        text_layers: layers of the text side.
        vision_layers: layers of the vision side.
        n_ctx: context tokens of layer 0, and of each deep text layer.
        n_add: vision projections per deep layer, of n_ctx tokens each.
        n_remove: vision prompt tokens removed in front of each deep layer.
        depth: layers that receive prompts.
        text_steps: [remove, add] per text layer, in place of the replacement; empty keeps it.
        vision_steps: the same for the vision side.

    Raises:
        UserError: on a value out of range; the setting or the layer is named.
    """
    for name, value, least in (("N_CTX", n_ctx, 1), ("N_ADD_OP", n_add, 1), ("N_RM_OP", n_remove, 0)):
        if value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")
    if text_steps:
        text = from_config(text_steps, text_layers, "text")
    else:
        text = replacement(text_layers, depth, n_ctx, "text")
    if vision_steps:
        vision = from_config(vision_steps, vision_layers, "vision")
    else:
        vision = modular(vision_layers, depth, n_ctx, n_remove, n_add * n_ctx, "vision")
    for schedule in (text, vision):
        if schedule[0].add != n_ctx:
            raise UserError(
                f"{schedule.side} schedule, layer 0: must add N_CTX = {n_ctx} tokens, adds {schedule[0].add}"
            )
    return MPLSchedules(text, vision)


class ModularPromptLearner(nn.Module):
    """Learnable prompts of both sides; names, initial values and order of random draws are the reference's.

    In front of layer i the text side adds `compound_prompts_text[i-1]`; the vision side adds its projections by
    `txt2img_proj[0][i-1]`, `txt2img_proj[1][i-1]` and so on, as many tokens as its schedule asks for. A layer whose
    text side adds nothing still has up to n_ctx source vectors if its vision side adds tokens.

    Args:
        classnames: names of the C classes.
        clip_model: a stock CLIP with a vision transformer; its widths and dtype are taken over.
        schedules: of both sides.
        n_ctx: context tokens in front of layer 0.
        ctx_init: words behind the context, e.g. "a photo of a".

    Raises:
        UserError: if a class prompt is longer than the text context.
    """

    def __init__(
        self, classnames: Sequence[str], clip_model: nn.Module, schedules: MPLSchedules, *, n_ctx: int, ctx_init: str
    ):
        super().__init__()
        text_width = clip_model.ln_final.weight.shape[0]
        vision_width = clip_model.visual.conv1.weight.shape[0]
        self.schedules = schedules
        self.prefix = " ".join(["X"] * n_ctx + [ctx_init.replace("_", " ")]).strip()
        prompts = class_prompts(classnames, self.prefix, clip_model)
        self.prompt_texts = prompts.texts

        # seed parity: proj, then the deep text prompts in order, then one projection that all copies share
        self.proj = nn.Linear(text_width, vision_width).to(clip_model.dtype)
        self.ctx = nn.Parameter(prompts.embedding[0, 1 : 1 + n_ctx].clone())
        rows = self._source_rows(n_ctx)
        self.compound_prompts_text = nn.ParameterDict(
            {str(layer - 1): nn.Parameter(torch.empty(n, text_width)) for layer, n in rows.items()}
        )
        for key in (str(layer - 1) for layer in rows):
            nn.init.normal_(self.compound_prompts_text[key], std=0.02)
        shared = nn.Linear(text_width, vision_width)
        self.txt2img_proj = nn.ModuleList(
            nn.ModuleDict({str(layer - 1): copy.deepcopy(shared) for layer in layers})
            for layers in self._projected_layers(rows)
        )

        self.register_buffer("token_prefix", prompts.embedding[:, :1], persistent=False)
        self.register_buffer("token_suffix", prompts.embedding[:, 1 + n_ctx :], persistent=False)
        self.register_buffer("end", prompts.end, persistent=False)

    def _source_rows(self, n_ctx: int) -> Dict[int, int]:
        """Number of deep text vectors per layer, for the layers (from 1) that have any."""
        text, vision = self.schedules
        rows = {}
        for layer in range(1, max(len(text), len(vision))):
            text_add = text[layer].add if layer < len(text) else 0
            vision_add = vision[layer].add if layer < len(vision) else 0
            if text_add or vision_add:
                rows[layer] = text_add or min(n_ctx, vision_add)
        return rows

    def _projected_layers(self, rows: Dict[int, int]) -> list:
        """For projection j = 0, 1, ...: the layers whose vision side needs it."""
        needed = {
            layer: -(-self.schedules.vision[layer].add // n)
            for layer, n in rows.items()
            if layer < len(self.schedules.vision)
        }
        return [[layer for layer, n in needed.items() if n > j] for j in range(max(needed.values(), default=0))]

    def _text_additions(self) -> Additions:
        additions: Additions = [None] * len(self.schedules.text)
        for layer, step in enumerate(self.schedules.text):
            if layer and step.add:
                additions[layer] = self.compound_prompts_text[str(layer - 1)]
        return additions

    def _vision_additions(self) -> Additions:
        additions: Additions = [None] * len(self.schedules.vision)
        additions[0] = self.proj(self.ctx)  # (c, V)
        for layer, step in enumerate(self.schedules.vision):
            if layer and step.add:
                key = str(layer - 1)
                source = self.compound_prompts_text[key]  # (n, T)
                projected = [proj[key](source) for proj in self.txt2img_proj if key in proj]
                additions[layer] = torch.cat(projected)[: step.add]  # (add, V)
        return additions

    def forward(self) -> Prompts:
        """The prompts of this moment, for both encoders."""
        n_cls = self.token_prefix.shape[0]
        ctx = self.ctx.expand(n_cls, -1, -1)  # (C, c, T)
        text = torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)
        return Prompts(text, self.end, self._text_additions(), self._vision_additions())


def describe_mpl(state_dict: Mapping[str, Tensor]) -> Dict[str, object]:
    """The settings of MPL that show in a learner's state dict."""
    deep = {key.split(".")[1] for key in state_dict if key.startswith("compound_prompts_text.")}
    projections = {key.split(".")[1] for key in state_dict if key.startswith("txt2img_proj.")}
    facts: Dict[str, object] = {"PROMPT_DEPTH": len(deep) + 1}
    if deep:
        facts["N_ADD_OP"] = len(projections)
    if "ctx" in state_dict:
        facts["N_CTX"] = state_dict["ctx"].shape[0]
        facts["the text width"] = state_dict["ctx"].shape[1]
    if "proj.weight" in state_dict:
        facts["the vision width"] = state_dict["proj.weight"].shape[0]
    return facts
