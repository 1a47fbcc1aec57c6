"""The page of `modprompt show`, made and served by Gradio: only to this machine, and it sends nothing elsewhere."""

import functools
import html
import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from modprompt.clip.facts import called
from modprompt.errors import UserError
from modprompt.io.image_files import read_rgb
from modprompt.methods.model import PromptedModel
from modprompt.use.attention import as_seen, attention_of, layers_of, overlay, unseen
from modprompt.use.trained import Trained, images_of

HOST = "127.0.0.1"
_MOST_SHOWN = 10  # classes with a bar
_NO_IMAGE = "No image has been uploaded yet."
_QUIET = {  # read by Gradio and its packages when they are imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
_MAPS = (
    "The attention maps show this layer, averaged over heads. Each map is scaled from the lowest attention (blue) to "
    "the highest (yellow)."
)
# for the browser: load only from this server, while Gradio's page names fonts and a script elsewhere
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; frame-ancestors 'none'"


class Seen(NamedTuple):
    """The results for an image."""

    shares: list[tuple[str, float]]  # (class name, probability), most probable first
    pictures: list[tuple[Image.Image, str]]  # where a layer's class token and prompt tokens look, with captions
    said: str  # on the class names; empty for nothing


def look(trained: Trained, file: str, text: str, layer: int = 0) -> Seen:
    """The results for an image file and class names, one on each line, with the pictures of a layer (from 0).

    Raises UserError if it is no image, or the names do not fit.
    """
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise UserError("There are no class names. Write at least one class name, each on its own line.")
    image, model = read_rgb(file, trained.read_as), _for_classes(trained.model, names)
    images = trained.preprocess(image)[None].to(model.logit_scale.device)
    with torch.no_grad():
        shares = model(images)[0].float().softmax(dim=0).sort(descending=True)
    ordered = [names[label] for label in shares.indices.tolist()]
    maps: list[tuple[str, Tensor]] = []
    if not unseen(model):
        _, class_token, prompts = attention_of(model, images)
        maps += [] if class_token is None else [("Class token", class_token[layer, 0])]
        maps += [(f"Prompt token {number}", prompt[0]) for number, prompt in enumerate(prompts[layer], start=1)]
    picture = as_seen(model, images[0], images_of(trained.preprocess))
    pictures = [
        (overlay(picture, map), f"{name}: {100 * float(map.sum()):.0f}% of its attention goes to image patches")
        for name, map in maps
    ]
    return Seen(list(zip(ordered, shares.values.tolist())), pictures, model.said_of(names))


@functools.lru_cache(maxsize=1)  # a visitor tries several images with the same names
def _for_classes(model: PromptedModel, names: tuple[str, ...]) -> PromptedModel:
    return model if names == model.classes.names else model.with_classes(names)


def answer(
    trained: Trained, file: str | None, text: str, layer: int = 0
) -> tuple[dict[str, float] | None, str, list[tuple[Image.Image, str]]]:
    """What the page shows for an image and class names: the likeliest classes, a message, and a layer's pictures."""
    if not file:
        return None, _NO_IMAGE, []
    try:
        shares, pictures, said = look(trained, file, text, int(layer))
    except (UserError, OSError) as error:  # without the path where the server keeps an image
        return None, html.escape(str(error).replace(f" {file}", "")), []
    left = len(shares) - _MOST_SHOWN
    more = f"{left} less probable class{' is' if left == 1 else 'es are'} not shown." if left > 0 else ""
    return dict(shares[:_MOST_SHOWN]), "<br>".join(map(html.escape, filter(None, [said, more]))), pictures


def _blocks_of(trained: Trained) -> Any:
    """The page's fields and what they do."""
    import gradio as gr

    model = trained.model
    method, clip = type(model.method).__name__, called(model.clip_model)
    bound, layers = model.prompt_learner.bound, layers_of(model)
    hint = "Class names cannot be changed, because the prompts are class-specific (CSC)."
    hint = hint if bound else "Write each class name on its own line."
    with gr.Blocks(title=f"modprompt: {method}", analytics_enabled=False) as blocks:
        gr.HTML(f"<h2>{html.escape(method)}</h2>{html.escape(f'{clip}, {trained.path}')}")
        with gr.Row():
            with gr.Column(min_width=300):
                image: Any = gr.Image(label="Image", type="filepath", sources=["upload", "webcam"], height=320)
                # as it is uploaded: Gradio would open any kind of file and write it anew, while our readers have bounds
                image.preprocess = lambda payload: payload and payload.path
                words = "\n".join(model.classes.names)
                names = gr.Textbox(words, label="Class names", info=hint, lines=6, interactive=not bound)
            with gr.Column(min_width=300):
                shares = gr.Label(label="Probabilities", num_top_classes=_MOST_SHOWN)
                said = gr.HTML(_NO_IMAGE)
        last = max(layers - 1, 1)
        layer = gr.Slider(0, last, layers - 1, step=1, label="Layer (0 is the first)", info=_MAPS, visible=layers > 1)
        maps = gr.Gallery(label="Attention maps", columns=4, interactive=False, visible=layers > 0)
        if not layers:
            gr.HTML(html.escape(f"{clip} {unseen(model)}."))
        for field in (image, names, layer):
            field.change(
                functools.partial(answer, trained),
                [image, names, layer],
                [shares, said, maps],
                trigger_mode="always_last",
                show_progress="hidden",
                api_visibility="private",
            )
    return blocks


def serve(trained: Trained, port: int, said: Callable[[str], None]) -> None:
    """Serve the page of a model until it is interrupted; uploads lie in a folder that is removed then.

    `said` is called with the page's address once it can be opened; a port of 0 finds a free one. Raises UserError if
    Gradio is missing, or the port cannot be used.
    """
    trained.model.method.require_each_alone("modprompt show")
    if importlib.util.find_spec("gradio") is None:
        raise UserError(
            "`modprompt show` needs the package gradio, which is not installed. "
            "Run `pip install 'gradio>=6,<7' Jinja2`."
        )
    with tempfile.TemporaryDirectory(prefix="modprompt-show-") as folder:
        os.environ.update({**_QUIET, "GRADIO_TEMP_DIR": folder})
        import gradio as gr
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        async def with_policy(request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["Content-Security-Policy"] = _POLICY
            return response

        own_names = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
        middleware = [own_names, Middleware(BaseHTTPMiddleware, dispatch=with_policy)]
        blocks = _blocks_of(trained)
        try:
            blocks.launch(
                server_name=HOST,
                server_port=port or None,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                footer_links=[],
                theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                app_kwargs={"middleware": middleware},
            )
        except OSError:  # its message is on Gradio's own settings
            raise UserError(
                f"Port {port} cannot be used. Choose a different --port, or use --port 0 to find a free port."
            ) from None
        try:
            said(f"http://{HOST}:{blocks.server_port}")
            threading.Event().wait()
        finally:
            blocks.close(verbose=False)
