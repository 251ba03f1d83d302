"""`make cluster`."""

import logging
import sys
import tempfile
from pathlib import Path

from tests.cluster.cluster import main

logging.basicConfig(level=logging.WARNING, format="%(message)s")
sys.exit(main(Path(tempfile.mkdtemp(prefix="reverie-cluster-"))))
