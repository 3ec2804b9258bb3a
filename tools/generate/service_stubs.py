"""The service: the type stub of its module, and what protoc leaves out of the module itself."""

from collections.abc import Iterator

from tools.generate.contract import Contract, File, Method, Service
from tools.generate.message_stubs import header, import_lines
from tools.generate.text import WIDTH, docstring, entry, string, wrap

_IMPORTS = {
    "AsyncIterator": "collections.abc",
    "Awaitable": "collections.abc",
    "Iterator": "collections.abc",
    "grpc": "",
    "grpc.aio": "",
    "aio_rpc": "mistralwire.v1._typing",
    "rpc": "mistralwire.v1._typing",
    "ServicerContext": "mistralwire.v1._typing.servicer",
}


def service_stub(contract: Contract, file: File) -> str:
    """Return the stub of the module of the service in a file."""
    (service,) = file.services
    types = {name for method in service.methods for name in (method.request, method.response)}
    modules = {name: f"mistralwire.v1.{contract.modules[name]}" for name in types}
    if any(method.takes_stream for method in service.methods):
        modules["Any"] = "typing"
    lines = [*header(file), *import_lines(_IMPORTS | modules), ""]
    lines += _stub(service, "Stub", "rpc", "grpc.Channel")
    lines += ["", *_stub(service, "AsyncStub", "aio_rpc", "grpc.aio.Channel")]
    lines += ["", *_servicer(service)]
    return "\n".join([*lines, ""])


def _stub(service: Service, suffix: str, module: str, channel: str) -> Iterator[str]:
    comment = service.comment if suffix == "Stub" else _async_comment(service)
    yield f"class {service.name}{suffix}:"
    yield from docstring(comment, "    ")
    yield ""
    yield f"    def __init__(self, channel: {channel}) -> None: ..."
    for method in service.methods:
        ends = ["Stream" if streams else "Unary" for streams in (method.takes_stream, method.streams)]
        kind = f"{module}.{''.join(ends)}MultiCallable"
        types = f"{method.request}, {method.response}"
        line = f"    {method.name}: {kind}[{types}]"
        wrapped = [f"    {method.name}: {kind}[", f"        {types}", "    ]"]
        yield from [line] if len(line) <= WIDTH else wrapped
        yield from docstring(method.comment, "    ")


def _servicer(service: Service) -> Iterator[str]:
    yield f"class {service.name}Servicer:"
    yield from docstring(_servicer_comment(service), "    ")
    yield ""
    for method in service.methods:
        response = f"{method.response} | Awaitable[{method.response}]"
        if method.streams:
            response = f"Iterator[{method.response}] | AsyncIterator[{method.response}]"
        request = f"request: {method.request}"
        if method.takes_stream:
            # An iterator for a server of grpc, an asynchronous one for one of grpc.aio.
            request = "request_iterator: Any"
        yield f"    def {method.name}("
        yield f"        self, {request}, context: ServicerContext"
        yield f"    ) -> {response}:"
        yield from docstring(method.comment, "        ")
    yield ""
    yield f"def add_{service.name}Servicer_to_server("
    yield f"    servicer: {service.name}Servicer, server: grpc.Server | grpc.aio.Server"
    yield ") -> None:"
    yield from docstring("Register a servicer with a server.", "    ")


def service_additions(file: File) -> str:
    """Return what is appended to the module: the stub for grpc.aio, and docstrings for `help()`."""
    (service,) = file.services
    name, methods = service.name, ["", *_methods(service)]
    lines = ["", "", f"class {name}AsyncStub({name}Stub):", "    pass", "", ""]
    lines += string(f"{name}Stub.__doc__ = ", [*wrap(service.comment, 100), *methods])
    lines += string(f"{name}AsyncStub.__doc__ = ", [*wrap(_async_comment(service), 100), *methods])
    lines += string(f"{name}Servicer.__doc__ = ", wrap(_servicer_comment(service), 100))
    for method in service.methods:
        lines += string(f"{name}Servicer.{method.name}.__doc__ = ", wrap(method.comment, 100))
    return "\n".join([*lines, ""])


def _async_comment(service: Service) -> str:
    return f"The stub of {service.name} for channels of grpc.aio. {_see_stub(service)}"


def _servicer_comment(service: Service) -> str:
    return (
        f"Base class of servicers of {service.name}. A server of grpc calls the methods as functions and "
        "generators, one of grpc.aio also as coroutines and asynchronous generators. A method that is not "
        f"overridden ends with UNIMPLEMENTED. {_see_stub(service)}"
    )


def _see_stub(service: Service) -> str:
    return f"See {service.name}Stub for what the service does."


def _methods(service: Service) -> Iterator[str]:
    yield "Methods:"
    for method in service.methods:
        yield from entry(_signature(method), method.comment, 100)


def _signature(method: Method) -> str:
    request, response = (
        f"stream of {name}" if streams else name
        for name, streams in ((method.request, method.takes_stream), (method.response, method.streams))
    )
    return f"{method.name}({request}) -> {response}"
