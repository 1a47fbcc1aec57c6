"""Importing this module registers every data set reader."""

import datasets.caltech101
import datasets.caltech256
import datasets.digits
import datasets.dtd
import datasets.eurosat
import datasets.fgvc_aircraft
import datasets.food101
import datasets.image_folder
import datasets.imagenet
import datasets.imagenet_a
import datasets.imagenet_r
import datasets.imagenet_sketch
import datasets.imagenetv2
import datasets.oxford_flowers
import datasets.oxford_pets
import datasets.stanford_cars
import datasets.sun397
import datasets.ucf101  # noqa: F401
