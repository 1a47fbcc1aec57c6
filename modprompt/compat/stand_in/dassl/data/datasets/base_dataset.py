"""One image with its label, and a data set as lists of them."""

import os
import random
from collections import defaultdict


class Datum:
    """An image file and what is known of it.

    Args:
        impath: path of the image.
        label: class number.
        domain: domain number.
        classname: class name.

    Raises:
        TypeError: if impath is not a string.
        FileNotFoundError: if there is no such file.
    """

    def __init__(self, impath="", label=0, domain=0, classname=""):
        if not isinstance(impath, str):
            raise TypeError(f"The image path of a Datum must be a string, got {impath!r}.")
        if not os.path.isfile(impath):
            raise FileNotFoundError(f"The image {impath} of the class {classname!r} does not exist.")
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    impath = property(lambda self: self._impath, doc="Path of the image.")
    label = property(lambda self: self._label, doc="Class number.")
    domain = property(lambda self: self._domain, doc="Domain number.")
    classname = property(lambda self: self._classname, doc="Class name.")

    def __repr__(self):
        return f"Datum({self._impath!r}, label={self._label}, classname={self._classname!r})"


def _grouped(data_source, attribute):
    groups = defaultdict(list)
    for item in data_source:
        groups[getattr(item, attribute)].append(item)
    return groups


class DatasetBase:
    """Lists of Datum: labelled training, unlabelled training (or None), validation (or None), test."""

    dataset_dir = ""
    domains = []

    def __init__(self, train_x=None, train_u=None, val=None, test=None):
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    train_x = property(lambda self: self._train_x, doc="Labelled training images.")
    train_u = property(lambda self: self._train_u, doc="Unlabelled training images, or None.")
    val = property(lambda self: self._val, doc="Validation images, or None.")
    test = property(lambda self: self._test, doc="Test images.")
    lab2cname = property(lambda self: self._lab2cname, doc="Class name of each label.")
    classnames = property(lambda self: self._classnames, doc="Class names by ascending label.")
    num_classes = property(lambda self: self._num_classes, doc="Largest label plus one.")

    @staticmethod
    def get_num_classes(data_source):
        """Largest label of a list plus one."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source):
        """({label: class name}, class names by ascending label) of a list."""
        mapping = {item.label: item.classname for item in data_source}
        return mapping, [mapping[label] for label in sorted(mapping)]

    def check_input_domains(self, source_domains, target_domains):
        """Raise ValueError unless both are non-empty and known."""
        for name, domains in (("source", source_domains), ("target", target_domains)):
            if not domains:
                raise ValueError(f"no {name} domain is given")
            self.is_input_domain_valid(domains)

    def is_input_domain_valid(self, input_domains):
        """Raise ValueError if a domain is not one of this data set's."""
        for domain in input_domains:
            if domain not in self.domains:
                raise ValueError(f"Unknown domain {domain!r}. Available domains: {self.domains}.")

    def generate_fewshot_dataset(self, *data_sources, num_shots=-1, repeat=False):
        """`num_shots` random images of each class, classes in order of first appearance, drawn from Python's random.

        A class with fewer images is used whole without a draw, or with `repeat` drawn with replacement. Below one
        shot the lists are returned as they are. One list gives a list, several a list of lists.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        output = []
        for source in data_sources:
            chosen = []
            for items in self.split_dataset_by_label(source).values():
                if len(items) >= num_shots:
                    chosen += random.sample(items, num_shots)
                else:
                    chosen += random.choices(items, k=num_shots) if repeat else items
            output.append(chosen)
        return output[0] if len(output) == 1 else output

    def split_dataset_by_label(self, data_source):
        """{label: items}, labels in order of first appearance."""
        return _grouped(data_source, "label")

    def split_dataset_by_domain(self, data_source):
        """{domain: items}, domains in order of first appearance."""
        return _grouped(data_source, "domain")
