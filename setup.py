"""What pyproject.toml cannot say: configs/ and constraints.txt stand beside the package, and in it once installed."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """Builds the package with the config files and the exact versions inside (modprompt/places.py finds them there)."""

    def run(self) -> None:
        """Copy them behind the modules; an editable installation uses those of the checkout."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "modprompt"
        shutil.rmtree(package / "configs", ignore_errors=True)  # of an earlier build
        shutil.copytree("configs", package / "configs")
        shutil.copy("constraints.txt", package)


setup(cmdclass={"build_py": WithConfigs})
