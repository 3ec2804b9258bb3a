"""Programs that the tests run with this year's contract, and with next year's.

Each is a script that needs nothing of the tests: PYTHONPATH says which package it uses.
"""
