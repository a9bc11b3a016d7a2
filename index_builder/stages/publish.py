"""The publish stage: a gallery to a model repository of the Hugging Face Hub, its manifest last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

from tqdm import tqdm

from img2loc.errors import HubError
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.retrieval.hub import split_revision
from img2loc.retrieval.manifest import MANIFEST, RECORDS

CARD = "README.md"
_CARD = Template("""\
---
library_name: img2loc
license: other
license_name: see-the-card
tags:
- img2loc
- image-geolocation
- gallery
---

# $name

$about

A gallery for [Img2Loc](https://arxiv.org/abs/2403.19584): embeddings of geotagged photos with their positions. Img2Loc
finds the entries most and least similar to a photo and reasons from their positions about where it was taken.

|  |  |
|---|---|
| entries | $count x $dim |
| data set | $source |
| licence | $licence |
| attribution | $attribution |
| encoder | `$encoder`, revision `$revision`$head |
| preprocessing | `$preprocessing` |
| index | `$factory`$search |
| recall@16 against exact search | $nearest nearest, $farthest farthest |

## How to use it

Set the variable of an Img2Loc Space, or of your own machine, to this repository; add `@` and a commit to stay at one:

```
IMG2LOC_GALLERY=$repo python app.py
```

`$manifest` was uploaded last and holds the sha256 of every file; Img2Loc refuses a gallery that differs from it.
""")


def publish_gallery(folder: Path, repo: str, *, private: bool = False) -> str:
    """Check a gallery and upload it to owner/name; interrupted, it continues with the files that have not arrived.

    Returns:
        What to set IMG2LOC_GALLERY to: the repository at the commit that completed it.

    Raises:
        GalleryError: The gallery is torn.
        HubError: The Hub can't be reached, or refuses; what has arrived stays.
    """
    if split_revision(repo)[1]:
        raise HubError(f"{repo!r} names a revision; a gallery is published to owner/name")
    gallery = open_gallery(str(folder))
    # A file a commit: what has arrived need not be sent again. The manifest completes the gallery: alone, and last.
    files: dict[str, Path | bytes] = {name: folder / name for name in sorted(gallery.manifest.files)}
    files |= {CARD: card(gallery, repo).encode(), MANIFEST: folder / MANIFEST}
    try:
        return f"{repo}@{_upload(repo, files, private)}"
    except Exception as error:  # its client raises errors of httpx, of its own, and ValueErrors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HubError(
            f"the gallery can't be published to {repo}: {reason} (is HF_TOKEN set, with the right to write?). "
            "Run publish again; files that have arrived are kept"
        ) from error


def _upload(repo: str, files: Mapping[str, Path | bytes], private: bool) -> str:
    from huggingface_hub import HfApi  # noqa: PLC0415

    api = HfApi()
    api.create_repo(repo, repo_type="model", private=private, exist_ok=True)
    commit = ""
    for name, content in tqdm(files.items(), unit="file", desc="publish"):
        # The client compares first, and sends nothing and commits nothing for a file that the repository has.
        done = api.upload_file(
            path_or_fileobj=content, path_in_repo=name, repo_id=repo, commit_message=f"Upload {name}"
        )
        commit = done.oid
    return commit


def card(gallery: Gallery, repo: str) -> str:
    """The gallery's page on the Hub."""
    manifest = gallery.manifest
    named = RECORDS in manifest.files
    return _CARD.substitute(
        name=manifest.name,
        about=manifest.about or "A gallery of geotagged photos.",
        count=f"{manifest.count:,}",
        dim=manifest.dim,
        source=manifest.source or "not stated",
        licence=manifest.licence or "not stated",
        attribution=f"each photo's author, address and licence stand in `{RECORDS}`" if named else "see the data set",
        encoder=manifest.encoder.source,
        revision=manifest.encoder.revision,
        head=f", with the head `{manifest.encoder.head}`" if manifest.encoder.head else "",
        preprocessing=manifest.encoder.preprocessing,
        factory=manifest.factory,
        search="".join(f", {key} {value}" for key, value in manifest.search.items()),
        nearest=manifest.recall["nearest"],
        farthest=manifest.recall["farthest"],
        repo=repo,
        manifest=MANIFEST,
    )
