"""How near is the HLS estimate to the published CICADA students?

The published HGQ students are not to be had, so those of a study with EBOPs near theirs stand for
them. The published figures are C-synthesis estimates of Vitis HLS 2021.1 for xc7vx690t.

    uv run python -m tests.benchmarks.hls_estimate quickstart --json
"""

import argparse
import json

import numpy as np

from sweep import home
from sweep.storage.database import open_storage
from sweep.study import Study, load

#: EBOPs, LUT and DSP of the published HGQ students by beta.
PUBLISHED = {"mixed": (3301, 24947, 0), "1e-4": (7570, 38111, 1), "1e-5": (39170, 111848, 4)}
NEIGHBOURS = 5


def main() -> None:
    """Print, for each published student, the estimates of this study's nearest in EBOPs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = compare(load(open_storage(home.default_storage(), create=False), options.study))
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(
            f"beta {row['beta']:>6} {row['ebops']:7,} EBOPs: published {row['published_lut']:8,} LUT"
            f" {row['published_dsp']} DSP, estimated median {row['median_lut']:10,.0f} LUT"
            f" ({row['lowest_lut']:,.0f} to {row['highest_lut']:,.0f}), {row['median_dsp']:g} DSP"
        )


def compare(study: Study) -> list[dict[str, object]]:
    """Return a row for each published student."""
    costs = [trial.user_attrs["cost"] for trial in study.points()]
    rows = []
    for beta, (ebops, lut, dsp) in PUBLISHED.items():
        nearest = sorted(costs, key=lambda cost: abs(np.log(max(cost["ebops"], 1) / ebops)))[:NEIGHBOURS]
        luts = [cost["hls_lut"] for cost in nearest]
        rows.append(
            {
                "beta": beta,
                "ebops": ebops,
                "published_lut": lut,
                "published_dsp": dsp,
                "nearest_ebops": [cost["ebops"] for cost in nearest],
                "median_lut": float(np.median(luts)),
                "lowest_lut": min(luts),
                "highest_lut": max(luts),
                "median_dsp": float(np.median([cost["hls_dsp"] for cost in nearest])),
            }
        )
    return rows


if __name__ == "__main__":
    main()
