"""Next year's contract, made from ours by the recipe of docs/contract.md, as a package of its own."""

import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
_PYTHON = ROOT / ".venv-generate" / "bin" / "python"

REVISION = 2

_REQUEST_FIELDS = """
  // Bound on the tokens of the reasoning, 0 or more. Absent: none.
  optional int32 thinking_budget = {number} [
    (json_field).nullable = true,
    (json_field).since = 2
  ];
  // Labels of the request, for reports. Absent: none.
  repeated string labels = {next_number} [
    (json_field).nullable = true,
    (json_field).since = 2
  ];
"""

_ANSWER_FIELD = """
  // How the answer came about. Absent: not reported.
  optional GenerationReport generation_report = 8 [
    (json_field).nullable = true,
    (json_field).since = 2
  ];
"""

# By file and message, what is added at the end of the message.
_FIELDS = {
    ("chat_completion", "ChatCompletionRequest"): _REQUEST_FIELDS.format(number=34, next_number=35),
    ("chat_completion", "ChatCompletionStreamRequest"): _REQUEST_FIELDS.format(number=34, next_number=35),
    ("agents_completion", "AgentsCompletionRequest"): _REQUEST_FIELDS.format(number=34, next_number=35),
    ("agents_completion", "AgentsCompletionStreamRequest"): _REQUEST_FIELDS.format(number=34, next_number=35),
    ("chat_completion", "ChatCompletionResponse"): _ANSWER_FIELD,
    ("completion", "CompletionChunk"): _ANSWER_FIELD,
    # A string becomes a union of a string and an object.
    ("tools", "ToolCall"): """
  // id as an object.
  optional ToolCallId id_object = 6 [
    (json_field).since = 2,
    (json_field).union_with = "id"
  ];
""",
    # So does a union that there is already, with an array.
    ("tools", "FunctionCall"): """
  // arguments as an array, by position.
  optional ArgumentList arguments_array = 5 [
    (json_field).since = 2,
    (json_field).union_with = "arguments"
  ];
""",
}

# By file, what is added before a line.
_VALUES = {
    ("completion", "  // A string that is not listed here"): """\
  // A filter stopped the model. In JSON: content_filter.
  FINISH_REASON_CONTENT_FILTER = 6 [(json_value) = {
    string: "content_filter"
    since: 2
  }];
""",
    ("content", "    // With another type, or with none: the whole object, as JSON text.\n"): """\
    // With the type video_url.
    VideoURLChunk video_url = 10 [(json_field).since = 2];
""",
    ("values", "  }\n}"): """\
    // True or false.
    bool boolean = 3 [(json_field).since = 2];
""",
}

_MESSAGES = {
    "completion": """
// How an answer came about.
message GenerationReport {
  // What the JSON object had beyond the fields below.
  optional JsonExtra json_extra = 1;

  // Region where it was made. Absent: not reported.
  optional string region = 2 [(json_field).nullable = true];
  // What to know of it. Absent: nothing.
  repeated string warnings = 3 [(json_field).nullable = true];
  // Time that it took, in seconds. Absent: not reported.
  optional double seconds = 4 [(json_field).nullable = true];
}
""",
    "content": """
// A piece of content: a video.
message VideoURLChunk {
  // What the JSON object had beyond the fields below.
  optional JsonExtra json_extra = 1;

  // Address of the video.
  optional string video_url = 2 [(json_field).required = true];
  // Always video_url.
  optional string type = 3 [(json_field).constant = "video_url"];
}
""",
    "tools": """
// Identifier of a call, and who gave it.
message ToolCallId {
  // What the JSON object had beyond the fields below.
  optional JsonExtra json_extra = 1;

  // The identifier.
  optional string value = 2 [(json_field).required = true];
  // Who gave it. Absent: the model.
  optional string origin = 3 [(json_field).nullable = true];
}

// Arguments of a call, by position.
message ArgumentList {
  option (json_message).form = JSON_FORM_ARRAY;

  // The arguments, in order.
  repeated string items = 1;
}
""",
}


def make_next_year(folder: pathlib.Path) -> pathlib.Path:
    """Make the package of next year's contract, with everything around it as it is now.

    Args:
        folder: An empty folder to make it in.

    Returns:
        The folder for PYTHONPATH.
    """
    for name in ("proto", "src", "tools"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "released.binpb")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    _edit(folder / "proto" / "mistralwire" / "v1")
    assert _PYTHON.exists(), "no environment to generate stubs in: make .venv-generate/.installed"
    run = subprocess.run(
        [_PYTHON, "-m", "tools.generate"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "src"


def _edit(protos: pathlib.Path) -> None:
    for (file, message), lines in _FIELDS.items():
        _replace(protos / f"{file}.proto", rf"(^message {message} {{\n.*?)^}}$", rf"\1{lines[1:]}}}")
    for (file, line), lines in _VALUES.items():
        path = protos / f"{file}.proto"
        # The union of content is the first with an alternative number 9.
        start = "    ResourceLinkChunk resource_link = 9;\n" if file == "content" else ""
        _replace(path, re.escape(start + line), f"{start}{lines}{line}")
    for file, text in _MESSAGES.items():
        path = protos / f"{file}.proto"
        path.write_text(path.read_text() + text)


def _replace(path: pathlib.Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, path.read_text(), count=1, flags=re.MULTILINE | re.DOTALL)
    assert count == 1, f"{path.name} has no {pattern}"
    path.write_text(text)
