"""KgCoOp's loss and ProGrad's step written down once more, slowly and without the engine.

Parameters are dicts under the names of the reference's checkpoints. A step gives (loss, gradients).
"""

import torch

from tests import plain_neighbours as plain

CENTERED = "a centered satellite photo of {}."  # EuroSAT's template, for both


def teacher(clip_model, names, template):
    """Unit class features (C, E) of the stock CLIP, class by class."""
    from clip import clip

    with torch.no_grad():
        each = [clip_model.encode_text(clip.tokenize(template.format(name)))[0] for name in names]
        return torch.stack([feature / feature.norm() for feature in each])


def entropy_of(logits, labels):
    """Cross entropy, image by image."""
    return sum(-row.log_softmax(0)[label] for row, label in zip(logits, labels)) / len(labels)


def distance(text, frozen):
    """One minus the mean over classes of the cosine, each by hand."""
    cosines = [(t * t0).sum() / (t.norm() * t0.norm()) for t, t0 in zip(text, frozen)]
    return 1 - sum(cosines) / len(cosines)


def divergence(logits, goal, temperature):
    """T^2 times the cross entropy of the softmax of both logits, image by image."""
    each = [((g / temperature).softmax(0) * (s / temperature).log_softmax(0)).sum() for s, g in zip(logits, goal)]
    return -(temperature**2) * sum(each) / len(each)


def project(a, b, weight):
    """ProGrad's step for one parameter."""
    direction = b / b.norm()
    return a - weight * (a * direction).sum() * direction if (a * direction).sum() < 0 else a


def kgcoop(clip_model, params, tokens, images, labels, lengths, names):
    """A step with W 8."""
    words = clip_model.token_embedding.weight[tokens]
    x = torch.cat([words[:, :1], params["ctx"].expand(len(tokens), -1, -1), words[:, 1 + len(params["ctx"]) :]], dim=1)
    text = plain.text_features(clip_model, tokens, x, {}, 0)
    logits = plain.coop(clip_model, params, tokens, images, lengths)
    loss = entropy_of(logits, labels) + 8 * distance(text, teacher(clip_model, names, CENTERED))
    return loss, torch.autograd.grad(loss, list(params.values()))


def prograd(clip_model, params, tokens, images, labels, lengths, names):
    """A step with LAMBDA 0.8 and T 2, by the stock CLIP's own logits."""
    with torch.no_grad():
        image = clip_model.encode_image(images)
        unit = image / image.norm(dim=-1, keepdim=True)
        goal = clip_model.logit_scale.exp() * unit @ teacher(clip_model, names, CENTERED).T
    logits = plain.coop(clip_model, params, tokens, images, lengths)
    loss, other = entropy_of(logits, labels), divergence(logits, goal, 2)
    a, b = (torch.autograd.grad(one, list(params.values()), retain_graph=True) for one in (loss, other))
    return loss, [project(mine, theirs, 0.8) for mine, theirs in zip(a, b)]
