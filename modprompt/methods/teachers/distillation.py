"""Loss terms that keep a student's logits near a teacher's.

Shapes: B images, C classes.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.engine.model import Output
from modprompt.methods.teachers.teacher import TeacherLogits

IMAGES, CLASSES = "images", "images and classes"  # over which a divergence is averaged


def divergence(of: Tensor, to: Tensor, temperature: float, over: str) -> Tensor:
    """The Kullback-Leibler divergence of softmax(of / T) from softmax(to / T), a scalar.

    Args:
        of: logits (B, C), float32.
        to: likewise.
        temperature: T.
        over: IMAGES, the mean over B of the sums over classes; or CLASSES, the mean over B * C (PromptKD, arXiv
            2403.02781, as in its code).
    """
    shares = F.log_softmax(of / temperature, dim=-1)
    total = F.kl_div(F.log_softmax(to / temperature, dim=-1), shares, reduction="sum", log_target=True)
    return total / (len(of) if over == IMAGES else of.numel())


class Distillation:
    """The divergence of a teacher's probabilities from the student's, or both ways, times T squared.

    The model itself decides which class features the student's logits use.

    Args:
        teacher: its logits for images.
        temperature: T.
        over: over which each divergence is averaged; see divergence.
        back: the weight of the student's divergence from the teacher's; the other direction has 1 - back.
        scale: returns the factor of the teacher's cosines, a scalar; None for its own.
    """

    def __init__(
        self,
        teacher: TeacherLogits,
        temperature: float = 1.0,
        over: str = CLASSES,
        back: float = 0.0,
        scale: Callable[[], Tensor] | None = None,
    ):
        self.teacher, self.temperature, self.over, self.back, self.scale = teacher, temperature, over, back, scale

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Cast the teacher as the student was cast."""
        self.teacher.set_stream(stream)

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """For images (B, 3, H, W), a scalar; labels are not read."""
        said = output.logits.float()
        goal = self.teacher.logits(images, None if self.scale is None else self.scale())
        loss = divergence(goal, said, self.temperature, self.over)
        if self.back:
            loss = (1 - self.back) * loss + self.back * divergence(said, goal, self.temperature, self.over)
        return self.temperature**2 * loss
