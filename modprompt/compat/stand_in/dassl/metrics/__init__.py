"""Accuracy."""


def compute_accuracy(output, target, topk=(1,)):
    """Accuracy in percent, a one-element tensor for each k.

    Args:
        output: logits (B, C), or a tuple whose first element they are.
        target: labels (B,).
        topk: a prediction counts if the label is among the k largest logits.
    """
    if isinstance(output, (tuple, list)):
        output = output[0]
    ranked = output.topk(max(topk), dim=1).indices  # (B, k)
    hits = ranked.eq(target.view(-1, 1))
    return [hits[:, :k].any(dim=1).float().mean().mul(100).view(1) for k in topk]
