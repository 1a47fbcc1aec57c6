"""Methods on CLIPs of which a side is a tower: features, heads, prompts on the side that is stock, and refusals."""

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt.clip.cast import cast_products, exact
from modprompt.clip.towers import joint_width, logit_bias_of, tokenizer_of
from modprompt.errors import UserError
from tests.tower_clips import IMAGE_SIDES, PIXELS, WIDTH, of_open_clip, tower_clip

NAMES = ["cat", "golden retriever", "Tree frog"]
SIDES = [("stock", "tower"), ("tower", "stock"), ("tower", "tower")]


def images(count=4):
    return torch.randn(count, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("text", "image"), SIDES)
def test_zero_shot_is_cosines_of_both_sides(text, image):
    clip_model = tower_clip(text, image)
    model = modprompt.ZeroshotCLIP().on(clip_model, NAMES).eval()
    tokenizer = tokenizer_of(clip_model)
    ids = torch.tensor([tokenizer.row(f"a photo of a {name}.") for name in NAMES])
    with torch.no_grad():
        classes = F.normalize(clip_model.encode_text(ids), dim=-1)
        seen = F.normalize(clip_model.encode_image(images()), dim=-1)
        expected = clip_model.logit_scale.exp() * seen @ classes.t()
        torch.testing.assert_close(model(images()), expected, rtol=1e-5, atol=1e-5)
    assert joint_width(clip_model) == WIDTH
    assert logit_bias_of(clip_model) is None
    other = model.with_classes(["dog", "owl"])
    assert other(images()).shape == (4, 2)


@pytest.mark.parametrize(("text", "image"), SIDES)
def test_towers_stay_in_eval_mode_where_a_model_trains(text, image):
    clip_model = tower_clip(text, image)
    model = modprompt.ZeroshotCLIP().on(clip_model, NAMES)
    with torch.no_grad():
        before = [model.eval()(images()), *(one.clone() for one in clip_model.buffers())]
        clip_model.train()
        after = [model.train()(images()), *clip_model.buffers()]
    assert all(torch.equal(one, other) for one, other in zip(before, after))
    assert not any(parameter.requires_grad for parameter in clip_model.parameters())


def test_the_exact_copy_of_a_clip_that_was_cast_has_its_products_in_float32():
    clip_model = tower_clip()
    cast_products(clip_model, torch.bfloat16)
    assert clip_model.visual.products == clip_model.text.products == clip_model.dtype == torch.bfloat16
    copied = exact(clip_model)
    assert (copied.visual.products, copied.text.products, copied.dtype) == (None, None, torch.float32)
    assert clip_model.visual.products == torch.bfloat16


@pytest.mark.parametrize(("text", "image"), SIDES)
def test_a_head_is_trained_and_comes_back_from_its_file(text, image, tmp_path):
    clip_model = tower_clip(text, image)
    model = modprompt.TipAdapterF().on(clip_model, NAMES)
    labels = torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        model.made.build(model.bank([model.encode_image(images())], labels), model.scale())
    optimiser = torch.optim.SGD(model.prompt_parameters(), 0.01)
    for _ in range(2):
        optimiser.zero_grad()
        model.loss(images(), labels).backward()
        optimiser.step()
    model.eval().save(tmp_path / "head.pt")
    again = modprompt.load(tmp_path / "head.pt", clip_model)
    with torch.no_grad():
        torch.testing.assert_close(again(images()), model(images()))


@pytest.mark.parametrize("name", ["timm_vit", "fastvit"])
@pytest.mark.slow
def test_text_prompts_in_front_of_an_image_tower_are_trained_as_open_clips_modules_say(name):
    """CoOp's losses are those of a plain loop on the package's own modules."""
    clip_model, package = of_open_clip(name)
    size, text = clip_model.visual.input_resolution, package.text
    given = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    model = modprompt.CoOp(n_ctx=2).on(clip_model, NAMES).train()
    labels = torch.tensor([0, 1, 2, 0])
    optimiser = torch.optim.SGD(model.prompt_parameters(), 0.5)
    ctx = model.prompt_learner.ctx.detach().clone().requires_grad_()
    plain = torch.optim.SGD([ctx], 0.5)
    ids = torch.tensor([tokenizer_of(clip_model).row(f"X X {name}.") for name in NAMES])
    words = text.token_embedding(ids).detach()
    seen = package.encode_image(given, normalize=True).detach()
    for _ in range(4):
        optimiser.zero_grad()
        loss = model.loss(given, labels)
        loss.backward()
        optimiser.step()
        plain.zero_grad()
        x = torch.cat([words[:, :1], ctx.expand(len(NAMES), -1, -1), words[:, 3:]], 1) + text.positional_embedding
        x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask))
        x = x[torch.arange(len(NAMES)), ids.argmax(-1)] @ text.text_projection
        expected = F.cross_entropy(package.logit_scale.exp() * seen @ F.normalize(x, dim=-1).t(), labels)
        expected.backward()
        plain.step()
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


HEADS = r"Use zero-shot CLIP and heads \(TipAdapter, \.\.\.\)\.$"


@pytest.mark.parametrize(
    ("method", "text", "image", "said"),
    [
        (
            modprompt.VPT(),
            "tower",
            "tower",
            f"does not support prompts in its image encoder, but VPT needs such prompts. {HEADS}",
        ),
        (
            modprompt.CoOp(),
            "tower",
            "tower",
            f"does not support prompts in its text encoder, but CoOp needs such prompts. {HEADS}",
        ),
        (
            modprompt.CoOp(),
            "tower",
            "stock",
            r"does not support prompts in its text encoder, but CoOp needs such prompts\. Use methods with image prompts only \(VPT\), zero-shot",
        ),
        (
            modprompt.VPT(),
            "stock",
            "tower",
            r"does not support prompts in its image encoder, but VPT needs such prompts\. Use methods with text prompts only \(CoOp, \.\.\.\), zero",
        ),
        (
            modprompt.MPL(),
            "stock",
            "tower",
            "does not support prompts in its image encoder, but MPL needs such prompts",
        ),
        (
            modprompt.MaPLe(),
            "tower",
            "tower",
            "does not support prompts in its text and image encoder, but MaPLe needs such prompts",
        ),
        (
            modprompt.DPLSearch(),
            "tower",
            "stock",
            "does not support prompts in its text encoder, but DPLSearch needs such prompts",
        ),
    ],
)
def test_a_method_that_needs_more_than_the_clip_has_is_refused(method, text, image, said):
    with pytest.raises(UserError, match=f"^this CLIP model {said}"):
        method.on(tower_clip(text, image), NAMES)


def test_a_name_that_is_too_long_for_the_tower_is_refused():
    long = " ".join(["long"] * 12)
    with pytest.raises(UserError, match="The prompt of class 'long .* is longer than the maximum of 12 text"):
        modprompt.ZeroshotCLIP().on(tower_clip(), ["cat", long])


def test_names_are_told_apart_by_the_clips_own_tokenizer():
    assert modprompt.ZeroshotCLIP().on(tower_clip(), ["Crane", "crane"]).classes.names == ("Crane", "crane")
    with pytest.raises(
        UserError, match="'a_crane' and 'a  crane' become the same text for the tokenizer of this CLIP model"
    ):
        modprompt.ZeroshotCLIP().on(tower_clip(), ["a_crane", "a  crane"])


def test_a_text_tower_computes_a_few_texts_at_a_time():
    names = [" ".join(str(number)) for number in range(150)]
    model = modprompt.ZeroshotCLIP().on(tower_clip(), names).eval()
    calls = []
    model.text_encoder.text.register_forward_hook(lambda module, given, output: calls.append(len(output)))
    model(images())
    model.limit_text(classes=100)
    model.with_classes([f"other {name}" for name in names])(images())
    assert calls == [64, 64, 22, 100, 50]


@pytest.mark.parametrize("name", [name for name in IMAGE_SIDES if name != "vitamin"])
def test_zero_shot_and_a_head_on_image_sides_of_open_clip(name):
    clip_model, package = of_open_clip(name)
    size = clip_model.visual.input_resolution
    given = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    model = modprompt.ZeroshotCLIP().on(clip_model, NAMES).eval()
    ids = torch.tensor([tokenizer_of(clip_model).row(f"a photo of a {name}.") for name in NAMES])
    with torch.no_grad():
        seen, classes = package.encode_image(given, normalize=True), package.encode_text(ids, normalize=True)
        torch.testing.assert_close(model(given), package.logit_scale.exp() * seen @ classes.t(), rtol=1e-4, atol=1e-4)
        head = modprompt.TipAdapter(init_alpha=1000.0, init_beta=50.0).on(clip_model, NAMES).eval()
        head.made.build(head.bank([head.encode_image(given)], torch.tensor([0, 1, 2])), head.scale())
        assert head(given).argmax(1).tolist() == [0, 1, 2]
