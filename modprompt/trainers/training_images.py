"""Detecting training images that change during a training run, or before a killed training run is resumed."""

from collections.abc import Mapping, Sequence
from typing import Any

from modprompt.errors import UserError
from modprompt.io.folder import or_delete
from modprompt.io.images import common_root, content_hash, stamps

STATE = "training_image_files"  # in the state of a run
_STAMP, _CONTENTS, _CHANGED = "stamp", "contents", "changed"


class TrainingImages:
    """The files of the training images, as they were when this process started to train.

    Args:
        images: the training images.
        root: the folder to which the recorded paths are relative; empty for the common folder of all images.

    Attributes:
        changed: whether images changed during the training.

    Raises:
        UserError: if a file is missing.
    """

    def __init__(self, images: Sequence[Any], root: str):
        self._images, self._root, self.changed = images, root or common_root([images]), False
        self._contents = ""  # a hash; empty until the contents have been read
        try:
            self._times, self._stamp = stamps(images, self._root)
        except OSError as error:
            raise UserError(
                f"Cannot read the training image {error.filename} ({error.strerror}). Restore the file, or remove the "
                "image from the data set."
            ) from None

    def state(self) -> dict[str, Any]:
        """Return the sizes, times and hashes of the images, for the training state."""
        return {_STAMP: self._stamp, _CONTENTS: self._contents, _CHANGED: self.changed}

    def resume(self, state: Mapping[str, Any], folder: str) -> None:
        """Compare the images with those that a training state recorded.

        Args:
            state: what `state` returned.
            folder: the folder of that run, for messages.

        Raises:
            UserError: if the images have other contents, or contents that the state does not know.
        """
        self.changed, self._contents = bool(state[_CHANGED]), str(state[_CONTENTS])
        if state[_STAMP] != self._stamp and content_hash(self._images, self._root) != self._contents:
            raise UserError(
                f"Cannot resume the run in {folder} because the contents of its training images have changed. "
                f"Restore the images, or use a different --output-dir{or_delete(folder)}."
            )

    def read_contents(self) -> None:
        """Compute hashes of the contents of the images, once per run."""
        if not self._contents:
            self.compare()
            try:
                self._contents = content_hash(self._images, self._root)
            except OSError:  # a file is missing
                self.changed = True

    def compare(self) -> None:
        """Set `changed` if training images have changed since the training started.

        A different size or modification time counts as a change. If only the inode or the change time is different, the
        contents are compared, provided that they were read before.
        """
        try:
            times, stamp = stamps(self._images, self._root)
            self.changed |= times != self._times
            if self._contents and stamp != self._stamp:
                self.changed |= content_hash(self._images, self._root) != self._contents
        except OSError:
            self.changed = True
