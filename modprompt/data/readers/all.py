"""Importing this module registers every data set reader."""

import modprompt.data.readers.caltech101
import modprompt.data.readers.caltech256
import modprompt.data.readers.digits
import modprompt.data.readers.dtd
import modprompt.data.readers.eurosat
import modprompt.data.readers.fgvc_aircraft
import modprompt.data.readers.food101
import modprompt.data.readers.image_folder
import modprompt.data.readers.imagenet
import modprompt.data.readers.imagenet_a
import modprompt.data.readers.imagenet_r
import modprompt.data.readers.imagenet_sketch
import modprompt.data.readers.imagenetv2
import modprompt.data.readers.mnist5k
import modprompt.data.readers.oxford_flowers
import modprompt.data.readers.oxford_pets
import modprompt.data.readers.stanford_cars
import modprompt.data.readers.sun397
import modprompt.data.readers.ucf101
import modprompt.data.readers.unlabelled  # noqa: F401
