"""Fuzz both engines of the codec, in Python with atheris and in Rust with cargo-fuzz: `make fuzz`.

Targets in Python, guided by the coverage of the Python engine:

- **convert**: a JSON text. Both engines read it alike or refuse it with a DecodeError, and what is read
  without validation comes back the same.
- **wire**: any bytes. Both engines write them alike, and the text, if there is one, reads as the same JSON.
- **sse**: a stream of server-sent events. However it is cut, it gives the same events and errors.

Targets in Rust (`native/fuzz`), guided by the coverage of the native engine: **from_json** and **to_json**.

The first byte of an input chooses the message type, the second the mode; the rest is the data. Each target
starts from the conformance vectors and the tests' documents.
"""
