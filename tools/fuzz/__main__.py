"""`make fuzz`: run fuzz targets in turn, each for some seconds. Inputs that fail are kept in build/fuzz."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tools.fuzz.inputs import PACKED, PYTHON_SEEDS, RUST_SEEDS, STREAM, write_seeds

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUST = ROOT / "native" / "fuzz"
FAILING = ROOT / "build" / "fuzz"
"""Where inputs that fail are kept."""

HOW_TO_GET = "run `cargo install cargo-fuzz` and `rustup toolchain install nightly` for the targets in Rust"


def main() -> None:
    """Run the targets that the command line names."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    all_targets = [*PYTHON_SEEDS, *RUST_SEEDS]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(all_targets)} (all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target; 0 for no end (60)")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the inputs that were found to be new")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(all_targets)
    if unknown:
        parser.error(f"no target: {', '.join(sorted(unknown))}")
    for target in arguments.targets or all_targets:
        if target in RUST_SEEDS and shutil.which("cargo-fuzz") is None:
            print(f"{target}: skipped; {HOW_TO_GET}")
            continue
        print(f"{target}: {arguments.seconds or 'no end of'} seconds", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            status = _run(target, arguments.seconds, arguments.keep, pathlib.Path(folder))
        if status:
            sys.exit(status)


def _run(target: str, seconds: int, keep: pathlib.Path | None, folder: pathlib.Path) -> int:
    seeds = folder / "seeds"
    new = folder / "new" if keep is None else keep.resolve() / target
    seeds.mkdir()
    new.mkdir(parents=True, exist_ok=True)
    write_seeds(target, seeds)
    FAILING.mkdir(parents=True, exist_ok=True)
    folders = [str(new), str(seeds)]  # libFuzzer writes to the first one
    options = [f"-max_total_time={seconds}", "-timeout=60", "-print_final_stats=1"]
    options.append(f"-artifact_prefix={FAILING}/{target}-")
    if target == "sse":
        options.append("-max_len=1000")  # a stream is read many times, a byte at a time too
    if target not in RUST_SEEDS:
        command = [sys.executable, "-m", "tools.fuzz.python_target", target, *options, *folders]
        return subprocess.run(command, check=False).returncode
    plans = folder / "plans"
    plans.write_bytes(PACKED)
    command = [
        "cargo",
        "+nightly",
        "fuzz",
        "run",
        "--fuzz-dir",
        str(RUST),
        target.removeprefix("rust-"),
        *folders,
        "--",
        *options,
    ]
    environment = os.environ | {
        "MISTRALWIRE_PLANS": str(plans),
        "MISTRALWIRE_STREAM": ",".join(map(str, STREAM)),
    }
    return subprocess.run(command, check=False, cwd=RUST.parent, env=environment).returncode


if __name__ == "__main__":
    main()
