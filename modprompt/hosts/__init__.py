"""MPL in other codebases: install, launch, doctor."""
