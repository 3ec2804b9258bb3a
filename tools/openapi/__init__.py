"""Write the OpenAPI document of the gateway and its page for people: the second half of `make generate`.

Both follow from the contract, its comments and the routes, and change with nothing else. So the gateway has
them as files: `openapi.json` and `docs.html` in its package. They need the environment of the package, since
they are made from the plans that its codec works by.
"""
