"""`python -m mistralwire`: the command line."""

from mistralwire.cli import main

main(prog_name="mistralwire")
