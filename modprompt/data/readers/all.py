"""Importing this module registers every data set reader."""

import modprompt.data.readers.digits
import modprompt.data.readers.folders
import modprompt.data.readers.image_folder
import modprompt.data.readers.imagenet
import modprompt.data.readers.imagenet_variants
import modprompt.data.readers.lists
import modprompt.data.readers.matlab
import modprompt.data.readers.unlabelled  # noqa: F401
