"""Shards: samples in WebDataset tars under one storage root, committed by markers, claimed by leases."""

from shards.marker import Marker, committed, dataset_digest, markers, read_marker, total_units
from shards.shard import commit, read_sample, read_samples, read_window
from shards.storage import Storage
from shards.tar import Sample

__all__ = [
    "Marker",
    "Sample",
    "Storage",
    "commit",
    "committed",
    "dataset_digest",
    "markers",
    "read_marker",
    "read_sample",
    "read_samples",
    "read_window",
    "total_units",
]
