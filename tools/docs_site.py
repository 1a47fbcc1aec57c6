"""Make the parts of the documentation site that come from the code (a hook of MkDocs, run by `make docs`).

A page asks for a part with a comment: `<!-- settings: MPL -->` becomes the table of a method's settings, and
`<!-- help: predict -->` the help text of a command. Three pages are made when the site is built: the notebook with its
outputs, CONTRIBUTING.md and CHANGELOG.md.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def settings_table(name: str) -> str:
    """Return a Markdown table of the settings of a method, of an addition, of `ACTIVE` or of `SEARCH`."""
    from modprompt.data.rounds import Active
    from modprompt.fields import Configured, as_config
    from modprompt.methods.search.over import Search
    from modprompt.methods.table import BY_NAME, PLUG_INS

    rows = {**BY_NAME, **{row.name: row for row in PLUG_INS}}
    shared: dict[str, type[Configured]] = {"ACTIVE": Active, "SEARCH": Search}
    cls, node = (shared[name], name) if name in shared else (rows[name].method, rows[name].node)
    lines = [f"| setting in `{node}` | default | meaning |", "| --- | --- | --- |"]
    for setting in cls.settings():
        default = as_config(setting.default)
        shown = f"`{default}`" if default not in ("", []) else "empty"
        choices = f" (choices: {', '.join(setting.choices)})" if setting.choices else ""
        lines.append(f"| `{setting.key}` | {shown} | {setting.meaning}{choices} |".replace("\n", " "))
    return "\n".join(lines)


def command_help(command: str) -> str:
    """Return the text that `modprompt COMMAND --help` prints."""
    from modprompt.cli.main import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*command.split(), "--help"])
    return printed.getvalue()


def run_notebook(path: Path) -> tuple[str, Mapping[str, bytes]]:
    """Run a notebook and return it as Markdown with its outputs, and the pictures that the Markdown names."""
    nbformat, nbclient, exporters = map(importlib.import_module, ("nbformat", "nbclient", "nbconvert.exporters"))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})"))
    with tempfile.TemporaryDirectory() as folder:  # the notebook saves a model
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    del notebook.cells[0]
    markdown, resources = exporters.MarkdownExporter().from_notebook_node(notebook)
    return markdown, resources["outputs"]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link the repository from which this checkout was cloned, or the checkout itself if that is not on the web."""
    asked = subprocess.run(
        ["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    remote = re.sub(r"^git@([^:]+):", r"https://\1/", asked.stdout.strip()).removesuffix(".git")
    config.repo_url = remote if remote.startswith("https://") else ROOT.as_uri()
    config.repo_name = "Repository"
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the comments that ask for a table or a help text, and links to files that are pages of the site."""
    for file, page in {"first_steps.ipynb": "first_steps.md", "CHANGELOG.md": "changelog.md"}.items():
        markdown = markdown.replace(f"]({file})", f"]({page})")
    markdown = re.sub(r"<!-- settings: (\w+) -->", lambda match: settings_table(match[1]), markdown)
    return re.sub(r"<!-- help: ([\w ]+) -->", lambda match: f"```text\n{command_help(match[1])}```", markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from files outside `docs/`, and the executed notebook."""
    from mkdocs.structure.files import File

    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, name.lower(), content=text))
    notebook = files.get_file_from_path("first_steps.ipynb")
    if notebook is not None:
        files.remove(notebook)
    markdown, pictures = run_notebook(ROOT / "docs" / "first_steps.ipynb")
    files.append(File.generated(config, "first_steps.md", content=markdown))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))
    return files
