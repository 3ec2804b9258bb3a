"""The readers of the drift tool, on SDKs made up for the purpose."""

import json
import pathlib
import shutil
import textwrap

import pytest

from tools.drift.sources import NODE_READER, DriftError, PythonSource, TypeScriptSource
from tools.drift.vocabulary import Member, Shape, Types

pytestmark = pytest.mark.process

pytest.importorskip("pydantic", reason="needs pydantic")

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_READER.parent / "node_modules").is_dir(),
    reason="node or the TypeScript compiler is missing: `make drift` installs the compiler",
)
TEXT, NULL = Shape.of("string"), Shape.of("null")

MODELS = """
from __future__ import annotations
from functools import partial
from typing import Any, Dict, Generic, List, Literal, Optional, TypeVar, Union

import pydantic
from pydantic import BaseModel, BeforeValidator, Discriminator, Tag
from typing_extensions import Annotated, TypeAliasType

T = TypeVar("T")
class Unset(BaseModel):
    pass
UNSET = Unset()
Nullable = TypeAliasType("Nullable", Union[T, None], type_params=(T,))
OptionalNullable = TypeAliasType("OptionalNullable", Union[Optional[Nullable[T]], Unset], type_params=(T,))
class UnrecognizedStr(str):
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return handler(str)

class Empty(BaseModel):
    pass
class Circle(BaseModel):
    kind: Annotated[Literal["circle"], pydantic.Field(alias="kind")] = "circle"
    inside: Optional[Drawing] = None
class Square(BaseModel):
    kind: Literal["square"]
class UnknownShape(BaseModel):
    kind: Literal["UNKNOWN"] = "UNKNOWN"
    raw: Any
    is_unknown: Literal[True] = True
AnyShape = Annotated[Union[Circle, Square, UnknownShape], BeforeValidator(lambda value: value)]
ByTag = Annotated[
    Union[Annotated[Circle, Tag("circle")], Annotated[Square, Tag("square")]],
    Discriminator(lambda value: "circle"),
]
Content = TypeAliasType("Content", Union[str, List[AnyShape]])

class Drawing(BaseModel):
    title: str
    content: OptionalNullable[Content] = UNSET
    reason: Nullable[Union[Literal["a", "b"], UnrecognizedStr]]
    mode: Union[Literal["only"], UnrecognizedStr] = "only"
    schema_definition: Annotated[Dict[str, Any], pydantic.Field(alias="schema")]
    shapes: List[ByTag]
    grid: Optional[List[List[float]]] = None
    count: int | None = 0
    context: Optional[Empty] = None
    extra: Any = None
Circle.model_rebuild()
"""
ERRORS = """
from pydantic import BaseModel
from typing import List, Union

class Failure(Exception):
    pass
class FailureData(BaseModel):
    loc: List[Union[str, int]]
"""
DRAWING = {
    "title": Member(TEXT, required=True),
    "content": Member(Shape.union([TEXT, Shape.array(Shape.of("Circle", "Square")), NULL]), required=False),
    "reason": Member(Shape.union([Shape.literal("a", "b"), TEXT, NULL]), required=True),
    "mode": Member(Shape.union([Shape.literal("only"), TEXT]), required=False),
    "schema": Member(Shape.of("object"), required=True),
    "shapes": Member(Shape.array(Shape.of("Circle", "Square")), required=True),
    "grid": Member(Shape.union([Shape.array(Shape.array(Shape.of("number"))), NULL]), required=False),
    "count": Member(Shape.of("integer", "null"), required=False),
    "context": Member(Shape.of("object", "null"), required=False),
    "extra": Member(Shape.of("any"), required=False),
}
CIRCLE = {
    "kind": Member(Shape.literal("circle"), required=False),
    "inside": Member(Shape.of("Drawing", "null"), required=False),
}


@pytest.fixture
def acme(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the package of an SDK whose models are MODELS and ERRORS."""
    package = tmp_path / "acme_sdk" / "client"
    package.mkdir(parents=True)
    (package / "models.py").write_text(MODELS)
    (package / "errors.py").write_text(ERRORS)
    monkeypatch.syspath_prepend(tmp_path)
    return "acme_sdk.client"


def test_models_are_read_with_all_that_is_reachable(acme: str) -> None:
    from tools.drift.read_models import read_types

    types = read_types(acme, ["Drawing", "Failure", "Absent"])
    assert types == {
        "Drawing": DRAWING,
        "Circle": CIRCLE,
        "Square": {"kind": Member(Shape.literal("square"), required=True)},
        "Failure": {"loc": Member(Shape.array(Shape.of("string", "integer")), required=True)},
    }


def test_a_missing_sdk_is_an_error_with_a_remedy() -> None:
    with pytest.raises(DriftError, match=r"^acme is not installed: `make drift` does it$"):
        PythonSource("acme", "acme", "acme_absent.client").read(["Drawing"])


def test_a_folder_is_read_without_what_is_installed_beside_it(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DriftError, match="No module named 'pydantic'"):
        PythonSource("mistralai", "mistralai", "mistralai.client").read(["Drawing"], tmp_path)


COMPONENTS = {
    "index": """
        export * from "./drawing.js";
        export * from "./function.js";
        export * from "./shapes.js";
    """,
    "enums": """
        declare const brand: unique symbol;
        export type Unrecognized<T> = T & { [brand]: "unrecognized" };
        export type OpenEnum<T extends Readonly<Record<string, string>>> = T[keyof T] | Unrecognized<string>;
        export type ClosedEnum<T extends Readonly<Record<string, string>>> = T[keyof T];
        export type Unknown<K extends string> = { [P in K]: "UNKNOWN" } & { raw: unknown; isUnknown: true };
    """,
    "shapes": """
        import { Drawing } from "./drawing.js";
        import { Unknown } from "./enums.js";
        export type Circle = { kind?: "circle" | undefined; inside?: Drawing | null | undefined };
        export type Square = { kind: "square" };
        export type AnyShape = (Circle & { kind: "circle" }) | Square | Unknown<"kind">;
        export type Empty = {};
    """,
    "function": """
        export type FunctionT = { name: string };
    """,
    "drawing": """
        import { ClosedEnum, OpenEnum } from "./enums.js";
        import { FunctionT } from "./function.js";
        import { AnyShape, Circle, Empty, Square } from "./shapes.js";
        export declare const Reason: { readonly A: "a"; readonly B: "b" };
        export type Reason = OpenEnum<typeof Reason>;
        export declare const Tier: { readonly A: "a"; readonly B: "b" };
        export type Tier = ClosedEnum<typeof Tier>;
        export type Content = string | Array<AnyShape>;
        export type Drawing = {
          /** Its title. */
          title: string;
          notes: Record<string, any>;
          content?: Content | null | undefined;
          reason: Reason | null;
          tier: Tier | string;
          schemaDefinition: { [k: string]: any };
          shapes: (Circle | Square)[];
          topGrid?: Array<Array<number>> | undefined;
          isOpen?: boolean | undefined;
          context?: Empty | undefined;
          extra?: any | undefined;
          function: FunctionT;
          [additionalProperties: string]: unknown;
        };
        export type Drawing$Outbound = {
          title: string;
          notes: Record<string, any>;
          content?: string | null | undefined;
          reason: string | null;
          tier: string;
          schema: { [k: string]: any };
          shapes: Array<Circle>;
          top_grid?: Array<Array<number>> | undefined;
          is_open?: boolean | undefined;
          context?: Empty | undefined;
          extra?: any | undefined;
          function: FunctionT;
        };
    """,
}
FAILURE = """
    export type FailureData = { loc: Array<string | number> };
    export declare class Failure extends Error { data$: FailureData; }
"""
ENUM = Shape.literal("a", "b")
TYPES: Types = {
    "DRAWING": {
        "title": Member(TEXT, required=True),
        "notes": Member(Shape.of("object"), required=True),
        "content": Member(
            Shape.union([TEXT, Shape.array(Shape.of("Circle", "Square")), NULL]), required=False
        ),
        "reason": Member(Shape.union([ENUM, TEXT, NULL]), required=True),
        "tier": Member(Shape.union([ENUM, TEXT]), required=True),
        "schema": Member(Shape.of("object"), required=True),
        "shapes": Member(Shape.array(Shape.of("Circle", "Square")), required=True),
        "top_grid": Member(Shape.array(Shape.array(Shape.of("number"))), required=False),
        "is_open": Member(Shape.of("boolean"), required=False),
        "context": Member(Shape.of("object"), required=False),
        "extra": Member(Shape.of("any"), required=False),
        "function": Member(Shape.of("Function"), required=True),
    },
    "Circle": {
        "kind": Member(Shape.literal("circle"), required=False),
        "inside": Member(Shape.of("DRAWING", "null"), required=False),
    },
    "Square": {"kind": Member(Shape.literal("square"), required=True)},
    "Function": {"name": Member(TEXT, required=True)},
    "Failure": {"loc": Member(Shape.array(Shape.of("string", "number")), required=True)},
}


@pytest.fixture
def acme_node(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a folder where the SDK of COMPONENTS and FAILURE is installed."""
    package = tmp_path / "node_modules" / "@acme" / "sdk"
    for folder in ("models/components", "models/errors"):
        (package / "esm" / folder).mkdir(parents=True)
    exports = {
        f"./{name}": {"types": f"./esm/{name}/index.d.ts"} for name in ("models/components", "models/errors")
    }
    manifest = {"name": "@acme/sdk", "version": "1.2.3", "type": "module", "exports": exports}
    (package / "package.json").write_text(json.dumps(manifest))
    for name, text in COMPONENTS.items():
        (package / "esm" / "models" / "components" / f"{name}.d.ts").write_text(textwrap.dedent(text))
    (package / "esm" / "models" / "errors" / "failure.d.ts").write_text(textwrap.dedent(FAILURE))
    (package / "esm" / "models" / "errors" / "index.d.ts").write_text('export * from "./failure.js";\n')
    return tmp_path


@needs_node
def test_typescript_types_are_read_under_their_names_in_json(acme_node: pathlib.Path) -> None:
    reading = TypeScriptSource("@acme/sdk").read(["DRAWING", "Failure", "Absent"], acme_node)
    assert reading.version == "1.2.3"
    assert reading.types == TYPES


@needs_node
def test_an_sdk_without_any_type_of_the_contract_is_an_error(acme_node: pathlib.Path) -> None:
    with pytest.raises(DriftError, match=r"^@acme/sdk 1\.2\.3 has no type of the contract"):
        TypeScriptSource("@acme/sdk").read(["Absent"], acme_node)


@needs_node
def test_an_sdk_without_types_is_an_error(acme_node: pathlib.Path) -> None:
    shutil.rmtree(acme_node / "node_modules" / "@acme" / "sdk" / "esm")
    with pytest.raises(DriftError, match="@acme/sdk/models/components has no types that can be found"):
        TypeScriptSource("@acme/sdk").read(["Drawing"], acme_node)


@needs_node
def test_a_package_for_node_that_is_missing_is_an_error_with_a_remedy(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        DriftError, match=r"^@acme/sdk is not installed: `make drift` does it, or `npm ci` in "
    ):
        TypeScriptSource("@acme/sdk").read(["Drawing"], tmp_path)
