"""Puts Img2Loc on a Hugging Face Space, or brings one up to date: python .huggingface/deploy.py OWNER/NAME."""

from __future__ import annotations

import argparse
import getpass
import hashlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from httpx2 import HTTPError
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile, SpaceInfo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # Python looks beside a script, not in the repository

from img2loc.errors import ConfigError, HubError, Img2LocError  # noqa: E402
from img2loc.retrieval.hub import split_revision  # noqa: E402
from img2loc.retrieval.manifest import MANIFEST  # noqa: E402
from img2loc.system.environment import prepare_environment  # noqa: E402

GALLERY = "IMG2LOC_GALLERY"
HUBS_OWN = ".gitattributes"  # the Hub writes it itself
POLL_S = 2.0
# A stage seen sooner may be that of the version before.
SETTLE_S = 15.0
# Packages, CLIP and the start together take about ten minutes on the slowest machine.
START_S = 1800.0
FAILED = {"BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR"}
ASLEEP = {"PAUSED", "STOPPED", "SLEEPING"}
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line and space.yaml ask for.

    Args:
        space: owner/name.
        hardware: The Hub's name for a machine; empty to leave an existing Space's as it is.
        gallery: "starter", "geoclip" or owner/name[@revision]; empty to leave an existing Space's as it is.
        private: Keep the Space, and the gallery built for it, to its owner.
        defaults: Hardware and gallery of a new Space.
        variables: Public environment variables.
        secrets: Names of secret ones, and what each is for.
        files: Paths in the repository.
    """

    space: str
    hardware: str
    gallery: str
    private: bool
    defaults: dict[str, str]
    variables: dict[str, str]
    secrets: dict[str, str]
    files: list[str]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do, and its words for a person."""

    words: str
    run: Callable[[], object]


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy.

    Args:
        argv: The arguments; the process's own by default.

    Returns:
        The exit status: 1 for a failure, 2 for wrong usage.
    """
    arguments = _parser().parse_args(argv)
    api = HfApi()
    try:
        prepare_environment()
        wanted = read_wanted(arguments)
        for step in steps(api, wanted, dry_run=arguments.dry_run):
            print(f"- {step.words}", flush=True)
            if not arguments.dry_run:
                step.run()
        if arguments.dry_run:
            print("Nothing was done; leave --dry-run out to do it.")
        else:
            wait_until_it_runs(api, wanted.space)
            print(f"{api.endpoint}/spaces/{wanted.space}")
    except Img2LocError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except (HTTPError, OSError, ValueError) as error:  # what the Hub's client raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(
            f"deploy: the Hub can't be reached or refuses: {reason} (log in with `hf auth login`, or set HF_TOKEN to a "
            "token that may write). Finished steps are kept; run the same command again.",
            file=sys.stderr,
        )
        return 1
    return 0


def read_wanted(arguments: argparse.Namespace) -> Wanted:
    """Join the command line and space.yaml.

    Raises:
        ConfigError: A name is invalid.
    """
    written = yaml.safe_load(Path(__file__).with_name("space.yaml").read_text(encoding="utf-8"))
    try:
        if split_revision(arguments.space)[1]:
            raise HubError(f"{arguments.space!r} names a revision")
        if arguments.gallery not in ("", "starter", "geoclip"):
            split_revision(arguments.gallery)
    except HubError as error:
        raise ConfigError(
            f"{error}; a Space is OWNER/NAME, a gallery starter, geoclip or OWNER/NAME[@REVISION]."
        ) from None
    return Wanted(
        space=arguments.space,
        hardware=arguments.hardware,
        gallery=arguments.gallery,
        private=arguments.private,
        defaults={name: written[name] for name in ("hardware", "gallery")},
        variables=written["variables"],
        secrets=written["secrets"],
        files=written["files"],
    )


def steps(api: HfApi, wanted: Wanted, *, dry_run: bool) -> Iterator[Step]:
    """Compare what is wanted with what is there, and say what to do, in order.

    A generator: each step is done before the next is worked out. Variables and secrets come before the files, so that
    a new version never starts without them.

    Args:
        api: The Hub's client.
        wanted: What is asked for.
        dry_run: Whether the steps are only shown.

    Raises:
        ConfigError: The Space has another app's files, which would be deleted.
    """
    space, info = wanted.space, _info(api, wanted.space)
    if info is not None:
        _check_ours(space, _remote_files(api, space))
    hardware = wanted.hardware or (wanted.defaults["hardware"] if info is None else "")
    if info is None:
        yield Step(
            f"create the {'private' if wanted.private else 'public'} Space {space} on {hardware}",
            partial(
                api.create_repo,
                space,
                repo_type="space",
                space_sdk="gradio",
                space_hardware=hardware,  # type: ignore[arg-type]  # any name that the Hub has, new ones too
                private=wanted.private,
            ),
        )
    elif wanted.private and not info.private:
        yield Step("make it private", partial(api.update_repo_settings, space, repo_type="space", private=True))
    there = {} if info is None else {name: item.value for name, item in api.get_space_variables(space).items()}
    variables = dict(wanted.variables)
    gallery = wanted.gallery or (wanted.defaults["gallery"] if GALLERY not in there else "")
    if gallery == "geoclip":
        published: list[str] = []
        private = wanted.private or (info is not None and bool(info.private))
        yield from _geoclip(f"{space}-geoclip", private, published)
        gallery = published[0] if published else f"{space}-geoclip@(the commit that completes it)"
    if gallery:
        variables[GALLERY] = gallery
    for name, value in variables.items():
        if there.get(name) != value:
            yield Step(f"set {name}={value}", partial(api.add_space_variable, space, name, value))
    set_already = set() if info is None else set(api.get_space_secrets(space))
    for name, purpose in wanted.secrets.items():
        if given := os.environ.get(f"SPACE_{name}"):
            yield Step(f"set the secret {name} from SPACE_{name}", partial(api.add_space_secret, space, name, given))
        elif name not in set_already:
            yield Step(f"ask for the secret {name}: it {purpose}", partial(_ask_for, api, space, name))
    if info is not None and hardware:
        runtime = api.get_space_runtime(space)
        now = runtime.requested_hardware or runtime.hardware
        if now != hardware:
            yield Step(f"move from {now} to {hardware}", partial(api.request_space_hardware, space, hardware))  # type: ignore[arg-type]
    absent = info is None and dry_run
    yield from _files(api, space, tracked(wanted.files), {} if absent else _remote_files(api, space))


def tracked(paths: Sequence[str]) -> list[str]:
    """The files below some paths that git tracks, relative to the repository.

    Raises:
        ConfigError: This isn't a git checkout, or git tracks nothing below a path.
    """
    files: list[str] = []
    for path in paths:
        done = subprocess.run(
            ["git", "ls-files", "-z", "--", path], cwd=ROOT, capture_output=True, text=True, check=False
        )
        below = [name for name in done.stdout.split("\0") if name]
        if done.returncode or not below:
            raise ConfigError(f"git tracks nothing under {path} in {ROOT}; deploy from a clone of the repository.")
        files += below
    return files


def wait_until_it_runs(api: HfApi, space: str) -> None:
    """Wait, and say each stage once.

    Raises:
        HubError: The build or the start failed, or takes too long; the message says where to look.
    """
    commit = api.space_info(space).sha
    start, said, woken = time.monotonic(), "", False
    while (waited_s := time.monotonic() - start) < START_S:
        runtime = api.get_space_runtime(space)
        stage, this_version = str(runtime.stage), runtime.raw.get("sha", commit) == commit
        if stage != said:
            print(f"  {stage.lower().replace('_', ' ')}", flush=True)
            said = stage
        if stage == "RUNNING" and this_version:
            return
        if stage in FAILED and (this_version or waited_s > SETTLE_S):
            _print_log(api, space, build=stage != "RUNTIME_ERROR")
            what = {"BUILD_ERROR": "can't be built", "RUNTIME_ERROR": "doesn't start"}.get(stage, "is misconfigured")
            reason = str(runtime.raw.get("errorMessage") or "its log says why").strip().splitlines()[-1]
            raise HubError(f"the Space {what}: {reason} ({api.endpoint}/spaces/{space}?logs=container)")
        if stage in ASLEEP and not woken:
            api.restart_space(space)
            woken = True
        time.sleep(POLL_S)
    raise HubError(
        f"the Space is still at {said!r} after {START_S / 60:.0f} minutes; look at {api.endpoint}/spaces/{space}"
    )


def _info(api: HfApi, space: str) -> SpaceInfo | None:
    try:
        return api.space_info(space)
    except RepositoryNotFoundError:
        return None


def _check_ours(space: str, remote: Collection[str]) -> None:
    """Make sure that a Space's files may be deleted: they are Img2Loc's, or a new Space's README alone."""
    others = sorted(set(remote) - {"README.md"})
    if others and "img2loc/__init__.py" not in others:
        raise ConfigError(
            f"The Space {space} has another app's files, such as {others[0]}. Give the name of a new Space."
        )


def _geoclip(repo: str, private: bool, published: list[str]) -> Iterator[Step]:
    """Build GeoCLIP's gallery, unless a whole one lies here, and publish it; its name ends up in `published`."""
    from index_builder.stages.geoclip import build_geoclip  # noqa: PLC0415 - torch takes seconds
    from index_builder.stages.publish import publish_gallery  # noqa: PLC0415

    folder = ROOT / "galleries" / "geoclip"
    if not (folder / MANIFEST).is_file():
        yield Step(f"build the gallery of the whole planet in {folder}", partial(build_geoclip, folder))
    yield Step(
        f"publish it to {repo}, but for what is there already",
        lambda: published.append(publish_gallery(folder, repo, private=private)),
    )


def _remote_files(api: HfApi, space: str) -> dict[str, RepoFile]:
    tree = api.list_repo_tree(space, repo_type="space", recursive=True)
    return {item.path: item for item in tree if isinstance(item, RepoFile) and item.path != HUBS_OWN}


def _files(api: HfApi, space: str, files: list[str], remote: dict[str, RepoFile]) -> Iterator[Step]:
    """Upload what differs and delete what is too much, in one commit."""
    changed = [name for name in files if name not in remote or not _same(ROOT / name, remote[name])]
    too_much = sorted(set(remote) - set(files))
    if changed or too_much:
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, ROOT / name) for name in changed),
            *(CommitOperationDelete(name) for name in too_much),
        ]
        yield Step(
            f"upload {len(changed)} of {len(files)} files, delete {len(too_much)}",
            partial(_commit, api, space, operations),
        )


def _same(path: Path, remote: RepoFile) -> bool:
    """Whether a file has the content that the Hub has: by its own hash, or git's where it is not in large storage."""
    data = path.read_bytes()
    if remote.lfs is not None:
        return remote.lfs.sha256 == hashlib.sha256(data).hexdigest()
    return remote.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _commit(api: HfApi, space: str, operations: list[CommitOperationAdd | CommitOperationDelete]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")  # the starter's
        api.create_commit(space, operations, commit_message="Deploy Img2Loc", repo_type="space")


def _ask_for(api: HfApi, space: str, name: str) -> None:
    """Ask for a secret without echo, where there is somebody to ask."""
    value = getpass.getpass(f"  {name} (empty to leave it out): ").strip() if sys.stdin.isatty() else ""
    if value:
        api.add_space_secret(space, name, value)
    else:
        print(f"  {name} is left out.")


def _print_log(api: HfApi, space: str, *, build: bool) -> None:
    try:
        lines = list(api.fetch_space_logs(space, build=build))[-LOG_LINES:]
    except (HTTPError, OSError, ValueError):  # the log is a courtesy; the failure itself is told anyway
        return
    print("".join(f"  | {line.rstrip()}\n" for line in lines), end="", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python .huggingface/deploy.py", description=__doc__)
    parser.add_argument("space", metavar="OWNER/NAME", help="the Space, made where there is none")
    parser.add_argument(
        "--gallery",
        default="",
        metavar="NAME",
        help="starter, geoclip (built and published beside the Space), or OWNER/NAME[@REVISION] on the Hub",
    )
    parser.add_argument("--hardware", default="", metavar="NAME", help="such as zero-a10g, cpu-basic, t4-small")
    parser.add_argument("--private", action="store_true", help="keep it to yourself")
    parser.add_argument("--dry-run", action="store_true", help="only say what there is to do")
    return parser


if __name__ == "__main__":
    sys.exit(main())
