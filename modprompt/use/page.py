"""The page of `modprompt show`, made with Gradio: only served to this machine, and it sends nothing elsewhere."""

import contextlib
import importlib.util
import io
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

from PIL import Image

from modprompt.clip.facts import called
from modprompt.errors import UserError
from modprompt.io import pages
from modprompt.use.attention import unseen
from modprompt.use.inspection import Look, Seen, overlays

HOST = "127.0.0.1"
MOST_SHOWN = 10  # classes with a bar
_QUIET = {  # read by Gradio and its packages when they are imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
_MAPS = "where its tokens look, from each image's least (blue) to its most (yellow), averaged over heads"
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO = ["ui-monospace", "Consolas", "monospace"]
_POLICY = "; ".join(  # for the browser: load only from this server, and send nothing elsewhere
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Any]


def require_packages() -> None:
    """Raise UserError unless the packages that make and serve the page are installed."""
    missing = [name for name in ("gradio", "fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"modprompt show needs {missing[0]}, which is missing: pip install 'gradio>=6,<7' fastapi uvicorn Jinja2"
        )


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """In this context Gradio sends nothing, and uploads go into a folder that is removed at the end."""
    before = {name: os.environ.get(name) for name in (*_QUIET, "GRADIO_TEMP_DIR")}
    with tempfile.TemporaryDirectory(prefix="modprompt-show-") as folder:
        os.environ.update({**_QUIET, "GRADIO_TEMP_DIR": folder})
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def bound_socket(port: int) -> socket.socket:
    """A socket that only this machine can reach.

    Raises:
        UserError: if the port is in use.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise UserError(
            f"port {port} cannot be used ({error.strerror}): name another, --port 0 finds a free one"
        ) from None
    return found


def _html(
    heading: str = "",
    note: str = "",
    is_wrong: bool = False,
    shares: Sequence[tuple[str, float]] = (),
    quiet: str = "",
    pictures: Sequence[tuple[str, Image.Image]] = (),
) -> str:
    """The content of one of the page's fields.

    Args:
        heading: a title.
        note: a sentence for the visitor.
        is_wrong: whether it is about a mistake.
        shares: (name, probability from 0 to 1), which become bars.
        quiet: a line in small print.
        pictures: (caption, image) pairs; the page needs no other file for them.
    """
    addresses = [(caption, _address(picture)) for caption, picture in pictures]
    parts = {"heading": heading, "note": note, "is_wrong": is_wrong, "shares": shares, "quiet": quiet}
    return pages.html("use/show.html.j2", **parts, pictures=addresses)


def _address(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return pages.data_address(file.getvalue())


class Answers:
    """The new contents of the page's fields when something changes.

    Args:
        look: the model.
    """

    def __init__(self, look: Look):
        self.look = look

    def image(self, file: str | None, text: str, layer: float) -> tuple[Seen | None, str, str]:
        """For an image and class names: the results to keep, their text, and the overlays of a layer."""
        if not file:
            return None, _html(quiet="No image yet."), ""
        try:
            seen = self.look.look(file, text)
        except (UserError, OSError) as error:
            return None, _html(note=self._plain(str(error), file), is_wrong=True), ""
        left = len(seen.shares) - MOST_SHOWN
        more = f"and {left} less probable classes" if left > 0 else ""
        return seen, _html(note=seen.said, shares=seen.shares[:MOST_SHOWN], quiet=more), self.layer(seen, layer)

    @staticmethod
    def _plain(text: str, file: str) -> str:
        """A message without the path where the server keeps an image."""
        return text.replace(f" {file}", "").replace(": replace the file", ": choose another one")

    @staticmethod
    def layer(seen: Seen | None, layer: float) -> str:
        """The overlays of a layer, from 0."""
        return "" if seen is None else _html(pictures=overlays(seen, int(layer)))


def blocks_of(look: Look) -> Any:
    """The page's fields and what they do."""
    import gradio as gr

    answers, model = Answers(look), look.trained.model
    method, clip = type(model.method).__name__, called(model.clip_model)
    with gr.Blocks(title=f"modprompt: {method}", analytics_enabled=False) as blocks:
        gr.HTML(_html(heading=method, quiet=f"{clip}, {look.trained.path}"))
        seen = gr.State(None)
        with gr.Row():
            with gr.Column(min_width=300):
                image = gr.Image(
                    label="Image",
                    type="filepath",
                    sources=["upload", "webcam"],
                    height=320,
                    elem_classes="mp-image",
                )
                hint = "one on each line" if not look.bound else "these prompts belong to these classes (CSC)"
                names = gr.Textbox(
                    "\n".join(look.names), label="Classes", info=hint, lines=6, max_lines=12, interactive=not look.bound
                )
            with gr.Column(min_width=300):
                result = gr.HTML(_html(quiet="No image yet."))
        last = max(look.layers - 1, 0)
        layer = gr.Slider(0, max(last, 1), last, step=1, label="Layer (from 0)", info=_MAPS, visible=look.layers > 1)
        maps = gr.HTML("" if look.layers else _html(quiet=f"{clip} {unseen(model)}."))
        _uploaded_as_it_is(image)
        fields, given = [seen, result, maps], [image, names, layer]
        quietly: dict[str, Any] = {
            "trigger_mode": "always_last",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        image.change(answers.image, given, fields, **quietly)
        names.change(answers.image, given, fields, **quietly)
        if look.layers:
            layer.change(answers.layer, [seen, layer], maps, **quietly)
    return blocks


def _uploaded_as_it_is(image: Any) -> None:
    """Pass on the path of an upload: Gradio would open any kind of file, while our readers have bounds."""
    image.preprocess = lambda payload: None if payload is None else payload.path


class OwnOnly:
    """An ASGI application whose answers carry the policy that keeps a browser on this server.

    Args:
        app: the application.
    """

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: _Message, receive: Any, send: _Send) -> None:
        """Answer a request."""

        async def with_policy(message: _Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[tuple[bytes, bytes]] = list(message.get("headers", []))
                more = [(b"content-security-policy", _POLICY.encode()), (b"referrer-policy", b"no-referrer")]
                message = {**message, "headers": headers + more}
            await send(message)

        await self.app(scope, receive, with_policy)


def app_of(look: Look) -> Any:
    """The web application; it only answers under names of this machine."""
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.middleware.trustedhost import TrustedHostMiddleware

    theme = gr.themes.Base(font=_FONTS, font_mono=_MONO)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        blocks_of(look),
        path="/",
        server_name=HOST,
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        theme=theme,
        css=pages.source("use/show.css"),
        max_file_size="200mb",
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.add_middleware(OwnOnly)
    return app


def serve(look: Look, taken: socket.socket, said: Callable[[str], None]) -> None:
    """Serve the page until it is interrupted.

    Args:
        look: the model.
        taken: from bound_socket.
        said: called with the page's address once it can be opened.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            said(f"http://{HOST}:{taken.getsockname()[1]}")

    Server(uvicorn.Config(app_of(look), log_level="error", ws="none")).run(sockets=[taken])
