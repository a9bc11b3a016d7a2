"""The order that an index keeps its codes in: by place, so that a search within an area passes over whole blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def arrange_by_place(index: Any, degrees: npt.NDArray[np.floating[Any]]) -> None:  # noqa: ANN401 - FAISS has no types
    """Order the codes of every cell of an inverted file along a curve that keeps neighbouring places together.

    FAISS compares fast-scan codes by the block, and asks of each row in one whether it counts. Where the rows of a
    block lie side by side on Earth, nearly every block counts wholly or not at all, and those that don't are skipped.
    Rows keep their numbers, and what is found stays the same but for ties. Other kinds of index are left as they are.

    Args:
        index: FAISS's, filled; changed in place.
        degrees: (rows, 2) latitudes and longitudes.
    """
    import faiss  # noqa: PLC0415

    inverted: Any = faiss.try_extract_index_ivf(index)
    lists: Any = faiss.downcast_InvertedLists(inverted.invlists) if inverted else None
    if not isinstance(lists, faiss.BlockInvertedLists):  # type: ignore[attr-defined]
        return
    along = z_order(degrees)
    packer: Any = lists.packer
    for cell in range(lists.nlist):
        size = lists.list_size(cell)
        if not size:
            continue
        rows = faiss.rev_swig_ptr(lists.get_ids(cell), size)
        blocks = faiss.rev_swig_ptr(lists.get_codes(cell), -(-size // packer.nvec) * packer.block_size)
        blocks = blocks.reshape(-1, packer.block_size)
        codes = np.empty((len(blocks) * packer.nvec, packer.code_size), np.uint8)  # the last block's padding too
        of_blocks = codes.reshape(len(blocks), -1)
        for block, flat in zip(blocks, of_blocks, strict=True):
            packer.unpack_all(faiss.swig_ptr(block), faiss.swig_ptr(flat))
        order = np.argsort(along[rows], kind="stable")
        rows[:] = rows[order]
        codes[:size] = codes[order]
        for block, flat in zip(blocks, of_blocks, strict=True):
            packer.pack_all(faiss.swig_ptr(flat), faiss.swig_ptr(block))


def z_order(degrees: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint32]:
    """How far along a Z-order curve over the map each position lies.

    Args:
        degrees: (n, 2) latitudes and longitudes.

    Returns:
        (n,) 16 bits of each coordinate, in turn.

    Source: Morton, "A Computer Oriented Geodetic Data Base and a New Technique in File Sequencing", IBM, 1966.
    """
    shares = (np.asarray(degrees, np.float64) + np.array((90, 180))) / (180, 360)
    bits: npt.NDArray[np.uint32] = (np.clip(shares, 0, 1) * 0xFFFF).astype(np.uint32)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | bits << np.uint32(shift)) & np.uint32(mask)
    return bits[:, 0] << np.uint32(1) | bits[:, 1]
