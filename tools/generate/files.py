"""Which files are written beside those of protoc, and what is in them."""

import pathlib
from collections.abc import Mapping

from tools.generate.contract import Contract
from tools.generate.docs import docs_module
from tools.generate.message_stubs import message_stub
from tools.generate.package import exports, reasons
from tools.generate.service_stubs import service_additions, service_stub

SHARED = pathlib.Path(__file__).parent / "shared"


def written_files(contract: Contract) -> Mapping[str, str]:
    """Return the text of each written file, by its path in the package."""
    texts = {"__init__.py": exports(contract), "_docs.py": docs_module(contract)}
    texts["error_reason.py"] = reasons(contract)
    for file in contract.files:
        texts[f"{file.module}.pyi"] = message_stub(contract, file)
        if file.services:
            texts[f"{file.module}_grpc.pyi"] = service_stub(contract, file)
    for path in sorted(SHARED.glob("*.pyi")):
        texts[f"_typing/{path.name}"] = path.read_text()
    return texts


def additions(contract: Contract) -> Mapping[str, str]:
    """Return what is appended to files of protoc, by their path in the package."""
    return {f"{file.module}_grpc.py": service_additions(file) for file in contract.files if file.services}
