#!/usr/bin/env python3
"""Builds what `docker build` would build, from the files that it would see, since CI has no Docker engine.

    .ci/deploying/context.py FOLDER      FOLDER takes the copy of these files; it is emptied first

.dockerignore is applied to the files that git has. In what is left, cargo has to find every crate of the workspace and
to compile the programs. The Dockerfile has to copy the programs that the workspace has, all of them.
"""

import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = "deploy/Dockerfile"
# A debug build's profile, so that the dependencies of the steps before are used again.
CHECK = ("cargo", "check", "--locked", "--bins")


def output(*command, cwd=REPOSITORY, env=None):
    """Runs a command and returns what it prints."""
    return subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def seen(name, patterns):
    """Returns whether Docker sees a file: the last pattern that fits the file or a folder above it decides."""
    parts = name.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    allowed = True
    for pattern in patterns:
        taken_back = pattern.startswith("!")
        if any(fnmatch.fnmatchcase(path, pattern.lstrip("!")) and path.count("/") == pattern.count("/") for path in above):
            allowed = taken_back
    return allowed


def copy_context(folder):
    """Copies the files that Docker sees, and returns their names."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    patterns = [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]
    names = output("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    names = [name for name in names if (REPOSITORY / name).is_file() and seen(name, patterns)]
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, folder / name)
    return names


def metadata(folder):
    """Asks cargo for the crates of the workspace in a folder."""
    try:
        return json.loads(output("cargo", "metadata", "--locked", "--no-deps", "--format-version=1", cwd=folder))
    except subprocess.CalledProcessError:
        sys.exit(f"{folder}: isn't the whole workspace; .dockerignore has to let its crates pass")


def crates(found):
    """Lists the folders of the workspace's crates."""
    root = pathlib.Path(found["workspace_root"])
    return sorted(str(pathlib.Path(package["manifest_path"]).parent.relative_to(root)) for package in found["packages"])


def dockerfile_faults(found):
    """Lists what is wrong with the Dockerfile."""
    text = (REPOSITORY / DOCKERFILE).read_text()
    programs = {target["name"] for package in found["packages"] for target in package["targets"] if "bin" in target["kind"]}
    copied = set(re.findall(r"target/release/(\w+)", text))
    if copied != programs:
        yield f"it copies the programs {sorted(copied)}, and the workspace has {sorted(programs)}"
    oldest = next(package["rust_version"] for package in found["packages"] if package["name"] == "flashsale")
    rust = re.search(r"^ARG RUST=(\S+)$", text, re.M)[1]
    if [int(part) for part in rust.split(".")] < [int(part) for part in oldest.split(".")]:
        yield f"it builds with Rust {rust}, and Cargo.toml demands {oldest}"
    if len(re.findall(r"^FROM ", text, re.M)) != 2:
        yield "it has two stages: one builds, the other has the programs alone"
    if not re.search(r"^USER [1-9]\d*(:[1-9]\d*)?$", text, re.M):
        yield "its USER is a number that isn't root's"


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    names = copy_context(folder)
    whole, context = metadata(REPOSITORY), metadata(folder)
    faults = [f"{DOCKERFILE}: {fault}" for fault in dockerfile_faults(whole)]
    if crates(whole) != crates(context):
        faults.append(f".dockerignore: leaves {crates(context)} of the workspace's crates {crates(whole)}")
    for needless in ("tests/it", "benches", "docs", ".git", "target"):
        if any(name.startswith(f"{needless}/") for name in names):
            faults.append(f".dockerignore: lets {needless} pass, which the build doesn't read")
    for fault in faults:
        print(fault)
    if faults:
        sys.exit(1)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target.resolve()))
    if subprocess.run(CHECK, cwd=folder, env=environment, check=False).returncode:
        sys.exit("what .dockerignore lets pass doesn't compile")
    print(f"the build sees {len(names)} files with the crates {', '.join(crates(context))}, and compiles")


main()
