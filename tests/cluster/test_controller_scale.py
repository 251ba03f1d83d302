"""What the controller costs grows as its work does: at a tenth of the size of benchmarks/controller.md, in counts and
bytes, which a busy machine does not change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster import simulated
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.load import AT_ONCE, FLAGS, Measured, install_types, measure

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]  # the first run builds everything

SMALL: Final = 20
LARGE: Final = 100


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Measured, Measured]]:
    """A fiftieth and a tenth of 1,000 resources with 20,000 pods."""
    folder = tmp_path_factory.mktemp("scale")
    with control_plane(folder / "plane", flags=FLAGS, volcano=False) as plane:
        install_types(plane, volcano=False)
        nodes = simulated.make_nodes(plane, AT_ONCE * LARGE, 500)
        yield measured(plane, SMALL, folder, nodes), measured(plane, LARGE, folder, nodes)


def measured(plane: ControlPlane, reveries: int, folder: Path, nodes: int) -> Measured:
    return measure(plane, f"of-{reveries}", reveries, folder / str(reveries), nodes=nodes, quiet=20)


def test_a_pod_costs_less_than_two_calls(sizes: tuple[Measured, Measured]) -> None:
    """11 events, 11 statuses, 5 jobs and a finalizer for 20 pods are 1.4."""
    assert sizes[1].calls_per_pod < 2.0


def test_five_times_as_many_resources_take_five_times_as_many_calls_and_looks(sizes: tuple[Measured, Measured]) -> None:
    small, large = sizes
    assert large.calls < 1.15 * LARGE / SMALL * small.calls
    name = "reverie_reconcile_seconds_count"
    assert large.over.total(name) < 1.5 * LARGE / SMALL * small.over.total(name)


def test_a_resource_and_its_twenty_pods_take_less_than_half_a_mebibyte(sizes: tuple[Measured, Measured]) -> None:
    assert sizes[1].memory_per_reverie < 0.5


def test_resources_that_run_undisturbed_cost_no_calls_whatever_their_number(sizes: tuple[Measured, Measured]) -> None:
    """But for the lease, and a watch that is made anew."""
    for one in sizes:
        name, lease = "reverie_api_requests_total", 'resource="leases"'
        before, after = (seen.calls() - seen.total_of(name, lease) for seen in (one.settled, one.quiet))
        assert after - before < 10


def test_no_write_is_made_on_old_news(sizes: tuple[Measured, Measured]) -> None:
    """Of ours; nobody else writes these resources."""
    for one in sizes:
        assert one.over.total_of("reverie_reconcile_total", 'result="conflict"') < 0.05 * one.reveries
        for bad in ("bug", "refused"):
            assert one.over.total_of("reverie_reconcile_total", f'result="{bad}"') == 0
