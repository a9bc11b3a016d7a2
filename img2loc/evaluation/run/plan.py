"""Plans every run that evaluate run asks for, says what they will cost together, and carries them out in turn."""

from __future__ import annotations

import argparse
import random
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

from tqdm import tqdm

from img2loc.evaluation.data.datasets import Truth
from img2loc.evaluation.data.photos import Folder, find_photos
from img2loc.evaluation.run.budget import Meter, check_budget
from img2loc.evaluation.run.journal import Journal
from img2loc.evaluation.run.record import UNEXPECTED, Entry, Header, Record, Setup
from img2loc.evaluation.run.runner import Model, Runner
from img2loc.geo.columns import named
from img2loc.lmm import LMM
from img2loc.lmm.prices import Pricing
from img2loc.lmm.servers import SERVERS, pricing, server_named
from img2loc.locator import Locator
from img2loc.policy.settings import Settings
from img2loc.retrieval.manifest import RECORDS
from img2loc.system.terminal import print_message


def run_all(
    arguments: argparse.Namespace,
    settings: Settings,
    truth: Truth,
    *,
    lmm: LMM | None,
    template: str,
    cancel: threading.Event,
) -> tuple[dict[str, Record], str]:
    """Carry out, or continue, a run for every combination of settings in the arguments.

    Args:
        arguments: Parsed by arguments.add_evaluate's parser.
        settings: The operator's.
        truth: The listing.
        lmm: None for the vote.
        template: The prompt's text.
        cancel: Abandons the model's requests.

    Returns:
        The journals by name, none after a dry run; and why a run stopped early or has failures, empty if neither.

    Raises:
        Img2LocError: A run can't begin.
    """
    truth = _sampled(truth, arguments.sample, arguments.seed)
    folder = find_photos(arguments.photos, truth.items, unavailable_md5=arguments.unavailable_md5)
    locator = Locator.open(settings.gallery, encoder=settings.encoder, device=settings.device, dtype=settings.dtype)
    notes = (*truth.notes, *_lasting_notes(folder, locator))
    for note in (*notes, *_passing_notes(folder, len(truth.items))):
        print_message(f"img2loc: {note}")
    with ExitStack() as stack:
        runs: dict[str, Runner] = {}
        common = _setup(arguments, settings, locator, lmm, template)
        for nearest, farthest, judge in product(arguments.nearest, arguments.farthest, arguments.judge):
            setup = replace(common, nearest=nearest, farthest=farthest, judge=judge)
            header = Header(setup, truth.items, notes, datetime.now(tz=UTC).date().isoformat())
            journal = stack.enter_context(Journal(arguments.out / f"{_name(setup)}.jsonl", header))
            model = Model(lmm, Meter(_pricing(arguments, setup), journal.record.used), cancel) if lmm else None
            runs[_name(setup)] = Runner(
                locator,
                model,
                journal,
                folder,
                concurrency=arguments.concurrency,
                retry_failed=arguments.retry_failed,
            )
        _preview(runs, arguments.max_cost)
        if arguments.dry_run:
            return {}, ""
        for name, runner in runs.items():
            others = (other.model for other in runs.values() if other is not runner)
            spent_usd = sum(model.meter.spent.cost_usd or 0.0 for model in others if model)
            if reason := _run(runner, None if arguments.max_cost is None else arguments.max_cost - spent_usd):
                return {}, f"{name}: {reason} Run the same command again to continue."
        records = {name: runner.journal.record for name, runner in runs.items()}
        return records, " ".join(filter(None, (_unexpected(name, record) for name, record in records.items())))


def _preview(runs: Mapping[str, Runner], max_cost_usd: float | None) -> None:
    """Say what all runs will cost, before the first request of any."""
    previews = []
    for name, runner in runs.items():
        for ids, message in (
            (runner.again, "the run was killed while asking about these photos; they are asked about again"),
            (
                runner.given_up,
                "killed twice while asking about these photos; they count as failed (see --retry-failed)",
            ),
        ):
            if ids:
                print_message(f"img2loc: {name}: {message}: {named(ids)}.")
        if (preview := runner.preview()) is not None:
            print_message(f"img2loc: {name}: {preview}")
            previews.append(preview)
    if max_cost_usd is not None:
        check_budget(previews, max_cost_usd)


def _run(runner: Runner, max_cost_usd: float | None) -> str:
    """Carry out one run with a progress bar; returns why it stopped early, empty if it is complete."""
    total, model = len(runner.journal.record.header.items), runner.model
    with tqdm(total=total, initial=total - runner.left, unit="photo", file=sys.stderr) as bar:

        def on_photo(entry: Entry) -> None:
            if model is not None:
                cost = model.meter.spent.cost_usd
                bar.set_postfix_str("cost unknown" if cost is None else f"${cost:,.4f}", refresh=False)
            bar.update()

        reason = runner.run(on_photo, max_cost_usd=max_cost_usd)
    if model is not None:
        print_message(f"img2loc: {model.meter.spent}")
    cut = [entry.id for entry in runner.journal.record.entries.values() if entry.message and entry.timings]
    if cut:
        print_message(f"img2loc: {len(cut):,} photos are cut short, and were located by what is there: {named(cut)}.")
    return reason


def _unexpected(name: str, record: Record) -> str:
    """The message about photos that failed unexpectedly; empty if there are none."""
    failed = [entry for entry in record.entries.values() if entry.kind == UNEXPECTED]
    if not failed:
        return ""
    ids = named([entry.id for entry in failed])
    return (
        f"{name}: {len(failed):,} photos failed ({ids}). The first failure: {failed[0].message} Use --retry-failed to "
        "try them again."
    )


def _sampled(truth: Truth, sample: int, seed: int) -> Truth:
    if not 0 < sample < len(truth.items):
        return truth
    chosen = set(random.Random(seed).sample(range(len(truth.items)), sample))
    items = tuple(item for number, item in enumerate(truth.items) if number in chosen)
    note = f"N is {sample:,}: a random sample of the listing's {len(truth.items):,} photos (seed {seed})."
    return replace(truth, items=items, notes=(*truth.notes, note))


def _lasting_notes(folder: Folder, locator: Locator) -> Iterable[str]:
    """What a report must say about the photos and the gallery."""
    if folder.repeated:
        yield (
            f"{len(folder.repeated):,} photos are identical to one by another author or from another place: an unknown "
            "placeholder, or a mistake in the listing. They are used as they are (--unavailable-md5 names a "
            f"placeholder): {named(folder.repeated)}."
        )
    if RECORDS not in locator.gallery.manifest.files:
        yield "The gallery has no records, so a photo itself and its author's photos can't be left out by name."


def _passing_notes(folder: Folder, count: int) -> Iterable[str]:
    """What can be fixed before the run continues; the journal has the final state for a report."""
    for ids, message in (
        (folder.missing, "are missing and count as misses"),
        (folder.ambiguous, "share their name with other files, are not used and count as misses"),
        (folder.unavailable, "are a “no longer available” picture, are not asked about and count as misses"),
    ):
        if ids:
            yield f"{len(ids):,} of {count:,} photos {message}: {named(ids)}."


def _setup(
    arguments: argparse.Namespace, settings: Settings, locator: Locator, lmm: LMM | None, template: str
) -> Setup:
    """What all runs of one command have in common."""
    manifest = locator.gallery.manifest
    return Setup(
        dataset=arguments.dataset,
        backend=arguments.backend,
        model=lmm.model if lmm else "",
        server=_server(arguments, settings) if lmm else "",
        temperature=arguments.temperature if arguments.temperature is not None else settings.temperature,
        samples=arguments.samples,
        gallery=manifest.name,
        gallery_sha256=manifest.identity,
        gallery_count=manifest.count,
        encoder=f"{manifest.encoder.source}@{manifest.encoder.revision[:19]}",
        template=template if lmm else "",
        nearest=0,
        farthest=0,
        exclude_itself=not arguments.keep_itself,
        exclude_author=not arguments.keep_author,
        near_duplicate=arguments.near_duplicate,
        within=str(arguments.within or ""),
    )


def _server(arguments: argparse.Namespace, settings: Settings) -> str:
    """A server's name or host; never its address, which may hold a password."""
    url = settings.options(arguments.backend, server=arguments.base_url).base_url
    if not url and arguments.backend != "openai":
        return ""
    server = server_named(url)
    return server.name if server.name in SERVERS else server.label


def _pricing(arguments: argparse.Namespace, setup: Setup) -> Pricing | None:
    """The given prices, else those of our list, which only hold at a model's own provider."""
    if arguments.price_input is not None:
        return Pricing(arguments.price_input, arguments.price_output)
    return pricing(SERVERS[setup.server], setup.model) if setup.server in SERVERS else None


def _name(setup: Setup) -> str:
    model = re.sub(r"[^\w.]+", "-", setup.model)
    judge = "" if setup.judge is None else f"judge{setup.judge}".replace(",", "+")
    within = f"within {setup.within}" if setup.within else ""
    parts = (setup.backend, model, f"n{setup.nearest}", f"f{setup.farthest}", judge, within)
    return re.sub(r"[^\w.+]+", "-", "-".join(part for part in parts if part))
