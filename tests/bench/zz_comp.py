import sys, json
from rich.console import Console
from tests.bench.search.rig import SearchRig
from tests.bench.bundles import STARTER
import tests.bench.search.rig as r, tests.bench.search.compressed as c
from pathlib import Path

r.CLIP = STARTER
c.KINDS = tuple(sys.argv[1].split(","))


class R(SearchRig):
    def start(self):
        self.encoder = self.start_service("encoder", "encoder", ENCODER_MODEL=str(STARTER))
        self.service = self.start_service(
            "search",
            "search",
            SEARCH_ENCODER=self.encoder.address,
            SEARCH_DATA_DIR=str(self.data / "collections"),
            SEARCH_METRICS_PORT="0",
        )


if __name__ == "__main__":
    with R(Path("/tmp/s2data/bench"), Console(width=160)) as rig:
        rig.start()
        for one in c.measure_compressed(rig):
            print(one.quantization, one.oversampling, round(one.recall, 4), round(one.p50_ms, 2), flush=True)
