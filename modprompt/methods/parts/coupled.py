"""What MPL and MaPLe share: text prompts per layer, and vision prompts projected from them.

Shapes: c context tokens, T text width, V vision width.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, image_width, text_width
from modprompt.engine import text_layout
from modprompt.engine.context import Context
from modprompt.engine.prompts import Additions, Prompts
from modprompt.engine.schedule import MOST_TOKENS, Schedule, Schedules, Shape, replacement
from modprompt.fields import setting
from modprompt.methods.parts.groups import LearnedText, PromptsVision, written_out
from modprompt.methods.parts.learner import Learner


@dataclass(frozen=True, repr=False)
class Coupled(LearnedText, PromptsVision):
    """The text side replaces n_ctx tokens per layer; the vision side is the method's own."""

    folder = "MultiModalPromptLearner"

    n_ctx: int = setting(
        2, "context tokens before layer 0, and prompt tokens of each deep text layer", least=1, most=MOST_TOKENS
    )
    prompt_depth: int = setting(9, "layers that receive prompts")

    def vision_rule(self, layers: int) -> Schedule:
        """The vision side's schedule, unless schedule_vision is given; layer 0 adds n_ctx tokens."""
        raise NotImplementedError

    def schedules(self, shape: Shape) -> Schedules:
        """Replacement on the text side, the method's rule on the vision side, or the schedules that are written out."""
        text = written_out("text", self.schedule_text, shape.text_layers, self.n_ctx, "N_CTX")
        vision = written_out("vision", self.schedule_vision, shape.vision_layers, self.n_ctx, "N_CTX")
        text = text or replacement(shape.text_layers, self.prompt_depth, self.n_ctx, "text")
        return Schedules(text, vision or self.vision_rule(shape.vision_layers))


class CoupledPromptLearner(Learner):
    """Learnable text prompts and their projections; names, initial values and order of draws are the reference's.

    Before layer i the text side adds `compound_prompts_text[i-1]`; the vision side adds its projections by
    `txt2img_proj[0][i-1]`, `txt2img_proj[1][i-1]` and so on, as many tokens as its schedule asks for. A layer whose
    text side adds nothing still has up to c source vectors if its vision side adds tokens.

    Random draws after those of the context: proj, the deep text prompts by layer, then one projection from which all of
    txt2img_proj start from.

    Args:
        classnames: names of the C classes.
        clip_model: a stock CLIP with a vision transformer, which gives widths and dtype.
        schedules: of both sides; layer 0 of each adds c tokens or none. The vision side's come from the context even
            where the text side has none.
        context: what the context starts from.

    Raises:
        UserError: if a class prompt is longer than the text context.
    """

    in_clip_type = ("ctx", "proj.")

    def __init__(self, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules, context: Context):
        super().__init__(schedules, *context.around(schedules.text.among_words))
        width, vision_width = text_width(clip_model), image_width(clip_model)
        self.proj = nn.Linear(width, vision_width).to(clip_model.dtype)
        self.ctx = nn.Parameter(context.vectors)
        self.trains_text = bool(schedules.text.depth)
        rows = self._source_rows(context.n_ctx)
        self.compound_prompts_text = nn.ParameterDict(
            {str(layer - 1): nn.Parameter(torch.empty(n, width)) for layer, n in rows.items()}
        )
        for key in (str(layer - 1) for layer in rows):
            nn.init.normal_(self.compound_prompts_text[key], std=0.02)
        shared = nn.Linear(width, vision_width)
        self.txt2img_proj = nn.ModuleList(
            nn.ModuleDict({str(layer - 1): copy.deepcopy(shared) for layer in layers})
            for layers in self._projected_layers(rows)
        )
        self.put_in(classnames, clip_model)

    def _source_rows(self, n_ctx: int) -> dict[int, int]:
        """Number of deep text vectors per layer, for the layers (from 1) that have any."""
        text, vision = self.schedules
        rows = {}
        for layer in range(1, max(len(text), len(vision))):
            text_add = text[layer].add if layer < len(text) else 0
            vision_add = vision[layer].add if layer < len(vision) else 0
            if text_add or vision_add:
                rows[layer] = text_add or min(n_ctx, vision_add)
        return rows

    def _projected_layers(self, rows: dict[int, int]) -> list[list[int]]:
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
        if self.schedules.vision[0].add:
            additions[0] = self.proj(self.ctx)  # (c, V)
        layers = [layer for layer, step in enumerate(self.schedules.vision) if layer and step.add]
        together = text_layout.counts_launches(self.ctx.device) and len(layers) > 1
        projected = self._project_together(layers) if together else self._project_one_by_one(layers)
        for layer, rows in zip(layers, projected):
            add = self.schedules.vision[layer].add
            additions[layer] = rows if len(rows) == add else rows[:add]  # (add, V)
        return additions

    def _of_layer(self, layer: int) -> tuple[Tensor, list[nn.Linear]]:
        """A layer's source vectors (n, T), and the projections that its vision side needs."""
        key = str(layer - 1)
        projections = cast(Sequence[nn.ModuleDict], self.txt2img_proj)
        return self.compound_prompts_text[key], [cast(nn.Linear, proj[key]) for proj in projections if key in proj]

    def _project_one_by_one(self, layers: Sequence[int]) -> list[Tensor]:
        """All projections of each layer's vectors, one after another (rows, V)."""
        each = (self._of_layer(layer) for layer in layers)
        return [torch.cat([proj(source) for proj in projections]) for source, projections in each]

    def _project_together(self, layers: Sequence[int]) -> list[Tensor]:
        """The same in one product for all layers with equally many vectors: a few launches, not some for each layer."""
        found: dict[int, Tensor] = {}
        by_rows: dict[int, list[int]] = {}
        for layer in layers:
            by_rows.setdefault(len(self._of_layer(layer)[0]), []).append(layer)
        for same in by_rows.values():
            pairs = [(source, proj) for source, projections in map(self._of_layer, same) for proj in projections]
            sources = torch.stack([source for source, _ in pairs])  # (m, n, T)
            weights = torch.stack([proj.weight for _, proj in pairs])  # (m, V, T)
            biases = torch.stack([proj.bias for _, proj in pairs])[:, None]
            rows = torch.baddbmm(biases, sources, weights.transpose(1, 2)).flatten(0, 1)  # (m * n, V)
            counts = [len(source) * len(projections) for source, projections in map(self._of_layer, same)]
            found.update(zip(same, rows.split(counts)))
        return [found[layer] for layer in layers]

    def forward(self) -> Prompts:
        """The current prompts, for both encoders."""
        first = self.ctx if self.schedules.text[0].add else self.ctx[:0]
        additions = self.with_first(first, self._text_additions())
        return self.adapted(Prompts(*additions, self._vision_additions()))

    def _n_among_words(self) -> int:
        return self.schedules.text.among_words
