"""Read the pydantic models of an installed `mistralai`.

A process of its own: takes the root package of the models (`mistralai.client`) as its argument and a JSON
list of type names as its input, and prints a JSON object with the `version` of the SDK and the `types` that
have these names or are reachable from them. It imports the SDK, pydantic and the standard library.
"""

import datetime
import importlib
import importlib.metadata
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from tools.drift.vocabulary import Member, Shape, Types, types_to_json

SCALARS: Mapping[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    bytes: "string",
    datetime.datetime: "string",
    datetime.date: "string",
    Any: "any",
    None: "null",
    type(None): "null",
}
NOTHING = Shape()


class ModelReader:
    """Reads models and those that their members refer to, each once.

    Attributes:
        types: What was read.
    """

    def __init__(self) -> None:
        self.types: dict[str, dict[str, Member]] = {}
        self._models: dict[str, type[pydantic.BaseModel]] = {}

    def read(self, model: type[pydantic.BaseModel], name: str) -> None:
        """Read a model under a name, and what it refers to.

        Raises:
            ValueError: If there is another model of this name.
        """
        if self._models.setdefault(name, model) is not model:
            raise ValueError(f"two models have the name {name}: {model} and {self._models[name]}")
        if name not in self.types:
            members = self.types[name] = {}
            for field_name, field in model.model_fields.items():
                shape = self._shape(field.annotation)
                members[field.alias or field_name] = Member(shape, field.is_required())

    def _shape(self, annotation: Any) -> Shape:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if hasattr(origin, "__value__"):  # an alias, which in Python 3.11 comes from typing_extensions
            return self._shape(origin.__value__[arguments])
        if hasattr(annotation, "__value__"):
            return self._shape(annotation.__value__)
        if origin is typing.Annotated:
            return self._shape(arguments[0])
        if origin in (typing.Union, types.UnionType):
            return Shape.union(map(self._shape, arguments))
        if origin is typing.Literal:
            return Shape.literal(*map(str, arguments))
        if origin in (list, tuple):
            return Shape.array(self._shape(arguments[0]))
        if origin is dict:
            return Shape.of("object")
        if annotation in SCALARS:
            return Shape.of(SCALARS[annotation])
        return self._class_shape(annotation) if inspect.isclass(annotation) else Shape.of(str(annotation))

    def _class_shape(self, annotation: type) -> Shape:
        if issubclass(annotation, (str, int)):  # UnrecognizedStr: what an open enum does not list
            return Shape.of("string" if issubclass(annotation, str) else "integer")
        if not issubclass(annotation, pydantic.BaseModel):
            return Shape.of(annotation.__name__)
        if annotation.__name__ == "Unset" or "is_unknown" in annotation.model_fields:
            return NOTHING  # the SDK's marks of an absent member, and of an alternative that it does not know
        if not annotation.model_fields:
            return Shape.of("object")
        self.read(annotation, annotation.__name__)
        return Shape.of(annotation.__name__)


def find_model(package: str, name: str) -> type[pydantic.BaseModel] | None:
    """Return the model of a type, or None; the body of an error is the model `<name>Data` of the errors."""
    for module_name, model_name in (("models", name), ("errors", f"{name}Data"), ("models", f"{name}Data")):
        model = getattr(importlib.import_module(f"{package}.{module_name}"), model_name, None)
        if inspect.isclass(model) and issubclass(model, pydantic.BaseModel):
            return model
    return None


def read_types(package: str, names: Iterable[str]) -> Types:
    """Return the types of these names that the package has, and those reachable from them."""
    reader = ModelReader()
    for name in names:
        model = find_model(package, name)
        if model is not None:
            reader.read(model, name)
    return reader.types


def main() -> None:
    """Read what the arguments and the input name."""
    (package,) = sys.argv[1:]
    found = read_types(package, json.load(sys.stdin))
    version = importlib.metadata.version(package.partition(".")[0])
    json.dump({"version": version, "types": types_to_json(found)}, sys.stdout)


if __name__ == "__main__":
    main()
