import re

import pytest

from modprompt.hosts.rows import with_rows
from tests.conftest import bare
from tests.modprompt.hosts.stand_in import DATASET, run_in, site, write_data, write_weights


class Workshop:
    """Data, weights and words of a run, and the losses of this project's own train.py on them."""

    def __init__(self, folder):
        self.folder = folder
        self.data = write_data(folder / "data")
        self.weights = write_weights(folder)
        (folder / "squares.py").write_text(DATASET)
        (folder / "squares.yaml").write_text('DATASET:\n  NAME: "Squares"\n')
        done = run_in(folder, "-m", "modprompt", "train", "--import", "squares", *self.words("MPL", folder / "ours"))
        assert done.returncode == 0, done.stderr
        self.losses = losses(done.stdout)

    def words(self, trainer, out, *more):
        """Flags of a run of a trainer into a folder; further words go in front of the options."""
        config = self.folder / ("own.yaml" if trainer == "OWN" else "mpl.yaml")
        flags = ["--root", self.data, "--seed", 1, "--trainer", trainer, "--output-dir", out, "--config-file", config]
        flags += ["--dataset-config-file", self.folder / "squares.yaml", *more]
        return [*flags, *([] if trainer == "OWN" else bare(self.weights))]

    def asked(self, host, out, *more, trainer="MPL"):
        """The same of our trainer with what a codebase's train.py asks for; further words go before the options."""
        return with_rows([*map(str, self.words(trainer, out, *more))], host / "train.py", trainer).words


def losses(text):
    """The losses in a log, in order."""
    return [float(value) for value in re.findall(r"loss ([0-9.]+) \(", text)]


@pytest.fixture(autouse=True)
def pip(monkeypatch):
    """modprompt is found from everywhere, as pip installs it."""
    monkeypatch.setenv("PYTHONPATH", site())


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("workshop"))
