"""Errors of yacs, Dassl and data-set readers that a user can correct, turned into one-line messages."""

import contextlib
from collections.abc import Iterator
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.checks import check_name
from modprompt.errors import UserError
from modprompt.programs import one_line


def said_by(error: BaseException) -> str:
    """Return the message of an exception that yacs raised as one line."""
    return " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__


@contextlib.contextmanager
def of_settings(node: str) -> Iterator[None]:
    """Turn a ValueError that Dassl raises on a configuration node, such as OPTIM, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{node}: {one_line(error)}") from error


@contextlib.contextmanager
def of_reader(name: str, root: str) -> Iterator[None]:
    """Turn errors on an unknown data set, a missing file or a reader for another Dassl into UserErrors.

    If a file is missing, the error has the attribute `filename` with its path.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.filename is None and error.strerror:
            raise
        if error.filename is None:  # the reader's own words
            raise UserError(f"Cannot read the data set {name}: {one_line(error)}") from error
        place = f"{error.filename} (DATASET.ROOT is {root})"
        mistake: Any = UserError(f"Cannot read the data set {name}: {error.strerror}: {place}. Check DATASET.ROOT.")
        mistake.filename = error.filename
        raise mistake from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UserError(
            f"Cannot read the data set {name}: {one_line(error)}. The reader was written for another version of "
            "Dassl. If the codebase contains its own copy of Dassl, use --host with --host-dassl."
        ) from error
    except AttributeError as error:
        if not str(error).isidentifier():  # else what yacs says of a key that is not there
            raise
        raise UserError(
            f"Cannot read the data set {name}: its reader needs the setting {error}, which does not exist in this "
            "configuration. Run the training program of the codebase, which defines the setting."
        ) from error
    except ValueError:
        check_name(name or "", DATASET_REGISTRY.registered_names(), "DATASET.NAME")
        raise
