"""Shared by the servers, gRPC and HTTP: TLS files, tokens, incomplete requests, the metrics page."""
