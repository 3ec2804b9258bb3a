"""Fuzz both engines of the codec, in Python with atheris and in Rust with cargo-fuzz: `make fuzz`.

Targets in Python, guided by the coverage of the Python engine:

- **convert**: a JSON text. Both engines read it alike or refuse it with a DecodeError, and what is read
  without validation comes back the same.
- **wire**: any bytes. Both engines write them alike, and the text, if there is one, reads as the same JSON.
- **sse**: a stream of server-sent events. However it is cut, both engines give the same events, batches and
  errors.

Targets in Rust (`native/fuzz`), guided by the coverage of the native engine: **rust-from_json**,
**rust-to_json** and **rust-sse**.

The first byte of an input chooses the message type, the second the mode; the rest is the data. Each target
starts from the conformance vectors and the tests' documents.
"""
