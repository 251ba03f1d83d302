"""Shards: samples in WebDataset tars under one storage root, committed by markers, claimed by leases."""

from shards.claims import Claims, claim_units
from shards.lease import Lease
from shards.marker import Marker, committed, dataset_digest, markers, read_marker, total_units
from shards.shard import commit, read_sample, read_samples, read_window
from shards.storage import Storage
from shards.tar import Sample
from shards.upkeep import check, sweep

__all__ = [
    "Claims",
    "Lease",
    "Marker",
    "Sample",
    "Storage",
    "check",
    "claim_units",
    "commit",
    "committed",
    "dataset_digest",
    "markers",
    "read_marker",
    "read_sample",
    "read_samples",
    "read_window",
    "sweep",
    "total_units",
]
