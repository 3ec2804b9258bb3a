"""Tests of durable streams: what the protocol's own conformance tests do not cover."""
