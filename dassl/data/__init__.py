"""Data: datasets, transforms, samplers, loaders."""

from .data_manager import DataManager, DatasetWrapper
