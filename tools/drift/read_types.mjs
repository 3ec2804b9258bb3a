// Reads the TypeScript types of an installed SDK of Mistral.
//
// Takes the folder that has the SDK in its node_modules and the name of the SDK's package as arguments and a JSON
// list of type names as its input; prints a JSON object with the `version` of the SDK and the `types` that have these
// names or are reachable from them, in the terms of vocabulary.py. What is read are the declarations, not the types
// that the compiler makes of them: to the compiler, "low" | string is just string.

import { readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { text } from "node:stream/consumers";

import ts from "typescript";

const MODULES = ["models/components", "models/errors"];
const OPTIONS = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  skipLibCheck: true,
  strict: true,
  types: [],
};
const KEYWORDS = new Map([
  [ts.SyntaxKind.StringKeyword, "string"],
  [ts.SyntaxKind.NumberKeyword, "number"],
  [ts.SyntaxKind.BooleanKeyword, "boolean"],
  [ts.SyntaxKind.AnyKeyword, "any"],
  [ts.SyntaxKind.UnknownKeyword, "any"],
]);
const ARRAYS = new Set(["Array", "ReadonlyArray"]);
const NOTHING = { types: [], elements: [], values: [] };

const of = (...types) => ({ ...NOTHING, types });
const merged = (lists) => [...new Set(lists.flat())].sort();
const union = (shapes) => ({
  types: merged(shapes.map(({ types }) => types)),
  elements: merged(shapes.map(({ elements }) => elements)),
  values: merged(shapes.map(({ values }) => values)),
});
const snakeCase = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function array({ types, elements, values }) {
  const named = types.map((name) => (name === "array" ? `array<${elements.join("|")}>` : name));
  return { types: ["array"], elements: named.sort(), values };
}

class TypeReader {
  constructor(folder, packageName, names) {
    // The compiler looks for packages from the folder of the file that imports them.
    const from = join(resolve(folder), "drift.mts");
    const files = MODULES.map((name) => declarationsOf(`${packageName}/${name}`, from));
    const program = ts.createProgram(files, OPTIONS);
    this.checker = program.getTypeChecker();
    this.exported = new Map();
    for (const file of files) {
      const module = this.checker.getSymbolAtLocation(program.getSourceFile(file));
      for (const symbol of this.checker.getExportsOfModule(module)) {
        this.exported.set(symbol.name, this.target(symbol));
      }
    }
    this.types = {};
    this.read = new Map();
    // The SDK for JavaScript writes some names in other letters: JsonSchema.
    this.asked = new Map(names.map((name) => [name.toLowerCase(), name]));
    for (const declaration of this.declarationsOfNames()) {
      this.readObject(declaration);
    }
  }

  *declarationsOfNames() {
    for (const symbol of this.exported.values()) {
      const declaration = objectDeclaration(symbol);
      if (declaration && this.asked.has(contractName(declaration).toLowerCase())) {
        yield declaration;
      }
    }
  }

  target(symbol) {
    return symbol.flags & ts.SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol;
  }

  // Reads an object type once, with what it refers to, and returns its name in the contract.
  readObject(declaration) {
    const ownName = contractName(declaration);
    const name = this.asked.get(ownName.toLowerCase()) ?? ownName;
    if (this.read.has(name)) {
      if (this.read.get(name) !== declaration) {
        throw new Error(`two types have the name ${name}`);
      }
      return name;
    }
    this.read.set(name, declaration);
    const members = propertiesOf(declaration).map((property) => [
      property.name.text,
      { ...this.shape(property.type), required: property.questionToken === undefined },
    ]);
    const wireNames = this.wireNames(
      declaration,
      members.map(([memberName]) => memberName),
    );
    this.types[name] = Object.fromEntries(members.map(([, member], index) => [wireNames[index], member]));
    return name;
  }

  // The names of members in JSON. A type that the SDK sends has a twin with these names, where a name that does not
  // follow from camelCase (schemaDefinition for schema) is the one that is left over.
  wireNames(declaration, names) {
    const ruled = names.map(snakeCase);
    const symbol = this.exported.get(`${declaration.name.text}$Outbound`);
    const outbound = symbol && objectDeclaration(symbol);
    const sent = outbound ? propertiesOf(outbound).map(({ name }) => name.text) : [];
    const renamed = sent.filter((name) => !ruled.includes(name));
    return ruled.map((name) => (sent.length === 0 || sent.includes(name) ? name : (renamed.shift() ?? name)));
  }

  shape(node) {
    if (ts.isParenthesizedTypeNode(node)) {
      return this.shape(node.type);
    }
    if (ts.isUnionTypeNode(node)) {
      return union(node.types.map((type) => this.shape(type)));
    }
    if (ts.isIntersectionTypeNode(node)) {
      return this.shape(node.types[0]); // an object and, once more, its tag
    }
    if (ts.isArrayTypeNode(node)) {
      return array(this.shape(node.elementType));
    }
    if (ts.isTypeReferenceNode(node)) {
      return this.referenceShape(node);
    }
    if (ts.isTypeLiteralNode(node)) {
      return of("object");
    }
    if (ts.isLiteralTypeNode(node)) {
      return literalShape(node.literal);
    }
    if (node.kind === ts.SyntaxKind.UndefinedKeyword) {
      return NOTHING;
    }
    return of(KEYWORDS.get(node.kind) ?? node.getText());
  }

  referenceShape(node) {
    const name = node.typeName.getText();
    if (ARRAYS.has(name)) {
      return array(this.shape(node.typeArguments[0]));
    }
    if (node.typeArguments !== undefined) {
      return this.computedShape(this.checker.getTypeFromTypeNode(node));
    }
    const symbol = this.target(this.checker.getSymbolAtLocation(node.typeName));
    const declaration = objectDeclaration(symbol);
    if (declaration !== undefined) {
      return this.namedShape(declaration);
    }
    const alias = symbol.declarations.find(ts.isTypeAliasDeclaration);
    return alias ? this.shape(alias.type) : of(symbol.name);
  }

  namedShape(declaration) {
    return of(propertiesOf(declaration).length === 0 ? "object" : this.readObject(declaration));
  }

  // A type with arguments: an open or closed enum, a record, or a union's place for what it does not know.
  computedShape(type) {
    if (type.isUnion()) {
      return union(type.types.map((part) => this.computedShape(part)));
    }
    if (type.isStringLiteral()) {
      return { types: ["literal"], elements: [], values: [type.value] };
    }
    if (type.getProperty("isUnknown")) {
      return NOTHING;
    }
    if (type.getStringIndexType() && type.getProperties().length === 0) {
      return of("object");
    }
    const isString = type.isIntersection() && type.types.some(({ flags }) => flags & ts.TypeFlags.String);
    return of(isString ? "string" : this.checker.typeToString(type));
  }
}

function declarationsOf(module, from) {
  const { resolvedModule } = ts.resolveModuleName(module, from, OPTIONS, ts.sys, undefined, undefined, ts.ModuleKind.ESNext);
  if (resolvedModule === undefined) {
    throw new Error(`${module} has no types that can be found from ${from}`);
  }
  return resolvedModule.resolvedFileName;
}

function objectDeclaration(symbol) {
  return symbol.declarations?.find(
    (declaration) =>
      ts.isInterfaceDeclaration(declaration) ||
      (ts.isTypeAliasDeclaration(declaration) && ts.isTypeLiteralNode(declaration.type)),
  );
}

function propertiesOf(declaration) {
  const { members } = ts.isInterfaceDeclaration(declaration) ? declaration : declaration.type;
  return members.filter(ts.isPropertySignature);
}

// A type has the name of its file, except that the SDK appends a T to a name that JavaScript has already (FunctionT in
// function.d.ts), and that the body of an error is beside the error (HTTPValidationErrorData).
function contractName(declaration) {
  const name = declaration.name.text;
  const file = basename(declaration.getSourceFile().fileName, ".d.ts");
  const suffix = ["T", "Data"].find((ending) => name.toLowerCase() === `${file}${ending.toLowerCase()}`);
  return suffix === undefined ? name : name.slice(0, -suffix.length);
}

function literalShape(literal) {
  if (literal.kind === ts.SyntaxKind.NullKeyword) {
    return of("null");
  }
  return ts.isStringLiteral(literal) ? { ...of("literal"), values: [literal.text] } : of(literal.getText());
}

const [folder, packageName] = process.argv.slice(2);
const manifest = join(folder, "node_modules", packageName, "package.json");
const { version } = JSON.parse(readFileSync(manifest, "utf8"));
const { types } = new TypeReader(folder, packageName, JSON.parse(await text(process.stdin)));
process.stdout.write(JSON.stringify({ version, types }));
