"""The embed stage on Ray: bytes as on one machine, also when a node is lost midway."""

from __future__ import annotations

import threading
import time

import pytest

from index_builder.__main__ import main
from index_builder.stages.embed import EmbedSettings, Pool, begin, embed_local
from index_builder.stages.listing import Listing
from index_builder.storage.store import Store
from tests.conftest import MOBILENET, PHOTOS
from tests.index_builder.test_embed import contents
from tests.index_builder.test_listing import write_table

ray = pytest.importorskip("ray", reason="index_builder/requirements.txt is not installed")
# Ray's own code warns of what it will change itself, and leaves sockets and files to be collected.
pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS = EmbedSettings(Pool(1, processes=False), "cpu", batch=4, shard_rows=16)


@pytest.fixture(scope="module")
def job(tmp_path_factory, mobilenet):
    """A listing of every photo, and its shards as one machine makes them."""
    folder = tmp_path_factory.mktemp("ray")
    photos = sorted(PHOTOS.glob("*.jpg"))
    table = write_table(folder / "t.csv", [(path.name, 1, 1) for path in photos])
    listing = folder / "listing.parquet"
    assert main(["listing", "--photos", str(PHOTOS), "--positions", str(table), "--out", str(listing)]) == 0
    with Listing(listing) as rows:
        store = begin(rows, folder / "local", mobilenet, SETTINGS)
        embed_local(rows, store, mobilenet, SETTINGS.pool)
    return listing, store


@pytest.fixture
def cluster():
    """Two nodes on this machine, of one CPU each; the driver's own has none."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


def test_a_node_lost_midway_costs_its_shard_and_nothing_else(job, cluster, tmp_path):
    from ray._private.state import actors

    from index_builder.stages.ray_embed import embed_on_ray

    listing, local = job
    store = Store.create(tmp_path / "shards", local.job)
    cluster, nodes = cluster
    ray.init(address=cluster.address, log_to_driver=False)
    killed = []

    def kill_a_worker():
        while not killed and store.missing():
            alive = {actor["Address"]["NodeID"] for actor in actors().values() if actor["State"] == "ALIVE"}
            if local.plan.shards > len(store.missing()) and {node.node_id for node in nodes} <= alive:
                killed.append(len(store.missing()))
                cluster.remove_node(nodes[0], allow_graceful=False)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    embed_on_ray(listing, store, str(MOBILENET), SETTINGS, address=cluster.address)
    killer.join()
    assert killed and 1 <= killed[0] < local.plan.shards
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2  # the driver's and the one that is left
    assert contents(store.folder) == contents(local.folder)
