"""Run one target in Python: `python -m tools.fuzz.python_target convert FOLDER -max_total_time=60`."""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["mistralwire.codec"]):
    from tools.fuzz import inputs
    from tools.fuzz.properties import CHECKS


def main() -> None:
    """Fuzz until libFuzzer stops; all arguments but the first are libFuzzer's."""
    check = CHECKS[sys.argv.pop(1)]
    logging.disable()  # of losses, which are many

    def run(data: bytes) -> None:
        item = inputs.decode(data)
        if item is not None:
            check(*item)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        # Half of the mutations are of bytes.
        changed = inputs.mutated(data, seed) if seed & 1 else None
        return bytes(atheris.Mutate(data, size_max)) if changed is None else changed[:size_max]

    atheris.Setup(sys.argv, run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
