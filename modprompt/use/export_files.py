"""A trained model as a torch.export program, and as an ONNX file: bytes, and how each is run to check it."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from modprompt.errors import UserError
from modprompt.programs import one_line
from modprompt.use.export_model import ExportedModel

Runs = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, 3, H, W) to features (B, E) and probabilities (B, C)
OPSET = 18  # the oldest that PyTorch's exporter writes without converting; ONNX Runtime 1.14 and newer read it
MOST_BYTES = 2_000_000_000  # limit of a protocol buffer, as an ONNX file is
INPUT, OUTPUTS = "images", ("features", "probabilities")
METADATA = "metadata.json"  # the extra file in a torch.export program


def require_packages(to: str) -> None:
    """Raise UserError unless the packages that write such files are installed."""
    if to != "onnx":
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--to onnx needs {error.name}, which is missing: pip install onnx onnxruntime onnxscript"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters, which print internals; errors are still raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def refusals(to: str) -> Iterator[None]:
    """In this context all errors of PyTorch's exporter become one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {one_line(error)[:160]}"
        raise UserError(f"--to {to}: PyTorch's exporter does not accept this model ({said})") from error


def program_of(exported: ExportedModel, size: int) -> Any:
    """The torch.export program of a model for any number of images of `size` pixels a side."""
    example = torch.zeros(2, 3, size, size)
    with _quiet(), torch.no_grad():
        batch = {INPUT: {0: torch.export.Dim.DYNAMIC}}
        program = torch.export.export(exported, (example,), dynamic_shapes=batch, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has the paths of this machine
    return program


def program_bytes(program: Any, metadata: Mapping[str, Any]) -> bytes:
    """A .pt2 file."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def run_program(content: bytes) -> Runs:
    """How a .pt2 file is run."""
    with _quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            features, probabilities = module(images)
        return features, probabilities

    return run


def onnx_bytes(program: Any, metadata: Mapping[str, Any]) -> bytes:
    """An .onnx file; its metadata has each part as JSON.

    Raises:
        UserError: if it would be larger than such a file can be.
    """
    with _quiet():
        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            verbose=False,
        )
        assert made is not None  # this exporter always returns it
        model = made.model_proto
    _tidy(model)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    if model.ByteSize() > MOST_BYTES:
        raise UserError(
            f"an ONNX file can have 2 GB, this one would have {model.ByteSize() / 1e9:.1f}: use --precision fp16 or "
            "--to torch"
        )
    content: bytes = model.SerializeToString()
    return content


def _tidy(model: Any) -> None:
    """Remove the exporter's notes, which have paths of this machine, and name the first dimension batch."""
    graph = model.graph
    named = [*graph.input, *graph.output, *graph.value_info]
    for part in [model, graph, *graph.node, *graph.initializer, *named, *model.functions]:
        for notes in ("metadata_props", "doc_string"):
            part.ClearField(notes)
    own: list[str] = [one.type.tensor_type.shape.dim[0].dim_param for one in graph.input]
    for value in named:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in own:
                dim.dim_param = "batch"


def run_onnx(content: bytes) -> Runs:
    """How an .onnx file is run, by ONNX Runtime on the CPU, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        features, probabilities = session.run(list(OUTPUTS), {INPUT: images.numpy()})
        return torch.from_numpy(features), torch.from_numpy(probabilities)

    return run


WRITES: dict[str, Callable[[Any, Mapping[str, Any]], bytes]] = {"onnx": onnx_bytes, "torch": program_bytes}
RUNS: dict[str, Callable[[bytes], Runs]] = {"onnx": run_onnx, "torch": run_program}
