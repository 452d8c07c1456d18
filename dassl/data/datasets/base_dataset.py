"""A picture with its label, and lists of them."""

import os
import random
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence

from dassl.utils.files import download_url


class Datum:
    """One picture: where it is and what it shows.

    Args:
        impath: path of the picture.
        label: class, an integer from 0.
        domain: domain, an integer from 0.
        classname: the class in words.

    Raises:
        TypeError: `impath` is not a string.
    """

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = "") -> None:
        if not isinstance(impath, str):
            raise TypeError(f"Datum: impath must be a string, got {impath!r} ({type(impath).__name__})")
        self._impath, self._label, self._domain, self._classname = impath, label, domain, classname

    @property
    def impath(self) -> str:
        """Path of the picture."""
        return self._impath

    @property
    def label(self) -> int:
        """Class, from 0."""
        return self._label

    @property
    def domain(self) -> int:
        """Domain, from 0."""
        return self._domain

    @property
    def classname(self) -> str:
        """The class in words."""
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self.impath!r}, label={self.label}, domain={self.domain}, classname={self.classname!r})"


class DatasetBase:
    """Lists of Datum for training and evaluation, with the class names that follow from them.

    Args:
        train_x: labelled training pictures. A dataset for testing alone may leave them out.
        train_u: unlabelled training pictures, optional.
        val: validation pictures, optional.
        test: test pictures.
    """

    dataset_dir = ""  # the dataset's folder under DATASET.ROOT
    domains: Sequence[str] = ()  # names of all domains

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ) -> None:
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        labelled = train_x or test or []
        self._num_classes = self.get_num_classes(labelled)
        self._lab2cname, self._classnames = self.get_lab2cname(labelled)

    @property
    def train_x(self) -> list[Datum] | None:
        """Labelled training pictures."""
        return self._train_x

    @property
    def train_u(self) -> list[Datum] | None:
        """Unlabelled training pictures."""
        return self._train_u

    @property
    def val(self) -> list[Datum] | None:
        """Validation pictures."""
        return self._val

    @property
    def test(self) -> list[Datum] | None:
        """Test pictures."""
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name of each label."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names in order of their labels."""
        return self._classnames

    @property
    def num_classes(self) -> int:
        """Number of classes: the largest label plus one."""
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source: Iterable[Datum]) -> int:
        """The largest label plus one."""
        return max((item.label for item in data_source), default=-1) + 1

    @staticmethod
    def get_lab2cname(data_source: Iterable[Datum]) -> tuple[dict[int, str], list[str]]:
        """A dict label -> class name, and the class names in order of their labels."""
        mapping = {item.label: item.classname for item in data_source}
        return mapping, [mapping[label] for label in sorted(mapping)]

    def check_input_domains(self, source_domains: Sequence[str], target_domains: Sequence[str]) -> None:
        """Raise ValueError unless all domains are among `domains`."""
        self.is_input_domain_valid(source_domains)
        self.is_input_domain_valid(target_domains)

    def is_input_domain_valid(self, input_domains: Sequence[str]) -> None:
        """Raise ValueError unless all of `input_domains` are among `domains`."""
        for domain in input_domains:
            if domain not in self.domains:
                raise ValueError(
                    f"{type(self).__name__} has no domain {domain!r}; its domains: {', '.join(self.domains) or 'none'}. "
                    "Check DATASET.SOURCE_DOMAINS and DATASET.TARGET_DOMAINS"
                )

    def download_data(self, url: str, dst: str, from_gdrive: bool = True) -> None:
        """Download an archive to the file `dst` and unpack it into that file's folder.

        Args:
            from_gdrive: `url` is a Google Drive address.

        Raises:
            ValueError: neither a zip nor a tar archive. Others as `dassl.utils.download_url`.
        """
        download_url(url, dst, from_gdrive=from_gdrive)
        folder = os.path.dirname(dst)
        print(f"Unpacking {dst}")
        if zipfile.is_zipfile(dst):
            with zipfile.ZipFile(dst) as archive:
                archive.extractall(folder)
        elif tarfile.is_tarfile(dst):
            with tarfile.open(dst) as archive:
                _extract_tar(archive, folder)
        else:
            raise ValueError(f"{dst}, from {url}, is neither a zip nor a tar archive; download it by hand")

    def generate_fewshot_dataset(
        self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False
    ) -> list[Datum] | Sequence[list[Datum]]:
        """Draw the same number of pictures of each class, with Python's global generator.

        Args:
            data_sources: one or more lists; one list is given back as it is drawn, several as a list of lists.
            num_shots: pictures a class; below 1: everything, undrawn.
            repeat: draw with replacement from a class that has fewer; otherwise all of them are taken.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        drawn = [self._draw(source, num_shots, repeat) for source in data_sources]
        return drawn[0] if len(drawn) == 1 else drawn

    def _draw(self, data_source: list[Datum], num_shots: int, repeat: bool) -> list[Datum]:
        dataset = []
        for items in self.split_dataset_by_label(data_source).values():
            if len(items) >= num_shots:
                dataset += random.sample(items, num_shots)
            elif repeat:
                dataset += random.choices(items, k=num_shots)
            else:
                dataset += items
        return dataset

    def split_dataset_by_label(self, data_source: Iterable[Datum]) -> dict[int, list[Datum]]:
        """The pictures of each label, labels in order of first appearance."""
        groups = defaultdict(list)
        for item in data_source:
            groups[item.label].append(item)
        return groups

    def split_dataset_by_domain(self, data_source: Iterable[Datum]) -> dict[int, list[Datum]]:
        """The pictures of each domain, domains in order of first appearance."""
        groups = defaultdict(list)
        for item in data_source:
            groups[item.domain].append(item)
        return groups


def _extract_tar(archive: tarfile.TarFile, folder: str) -> None:
    """Unpack a tar archive, of which no member may leave the folder; Python before 3.10.12 and 3.11.4 has no filter that sees to it."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
        return
    root = os.path.realpath(folder)
    for member in archive.getmembers():
        target = os.path.realpath(os.path.join(root, member.name))
        if not (member.isfile() or member.isdir()) or os.path.commonpath([root, target]) != root:
            raise ValueError(f"the archive's member {member.name!r} would leave {folder}, or is no ordinary file: nothing was unpacked")
    archive.extractall(folder)
