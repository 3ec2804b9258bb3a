"""Run protoc and write the rest."""

import pathlib
import shutil
import sys

import grpc_tools
from grpc_tools import protoc

from tools.generate.contract import read_contract
from tools.generate.files import additions, written_files

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "mistralwire" / "v1"
DESCRIPTOR_SET = PACKAGE / "descriptor_set.binpb"


def main() -> None:
    shutil.rmtree(PACKAGE, ignore_errors=True)
    (PACKAGE / "_typing").mkdir(parents=True)
    run_protoc()
    contract = read_contract(DESCRIPTOR_SET, PACKAGE / "json_options_pb2.py")
    for name, text in written_files(contract).items():
        (PACKAGE / name).write_text(text)
    appended = additions(contract)
    for path in PACKAGE.glob("*_pb2_grpc.py"):
        if path.name in appended:
            path.write_text(path.read_text() + appended[path.name])
        else:
            path.unlink()  # of a file without a service


def run_protoc() -> None:
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    common = ["protoc", f"-I{PROTO}", f"-I{well_known}"]
    modules = [f"--python_out={SOURCE}", f"--grpc_python_out={SOURCE}"]
    descriptors = [f"--descriptor_set_out={DESCRIPTOR_SET}", "--include_imports", "--include_source_info"]
    if protoc.main(common + modules + files) or protoc.main(common + descriptors + files):
        sys.exit("protoc failed; its message is above")


if __name__ == "__main__":
    main()
