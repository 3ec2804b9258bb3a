"""`make picture`: docs/demo.svg, from what `mistralwire demo` writes to a terminal.

The colors follow the reader's scheme, light or dark, on a background of their own.
"""

import html
import os
import pathlib
import pty
import re
import subprocess
import sys

PICTURE = pathlib.Path(__file__).parents[1] / "docs" / "demo.svg"
COLUMNS, CHARACTER_PX, LINE_PX, MARGIN_PX = 80, 7.85, 17, 14
TITLE = "mistralwire demo: what protobuf's json_format loses of a response and mistralwire keeps"
STYLE = """
rect{fill:#f6f8fa;stroke:#d0d7de}
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
text{fill:#1f2328;white-space:pre}
.s1{font-weight:bold}.s31{fill:#c01c28}.s32{fill:#1a7f37}.s36{fill:#0860b8}
@media(prefers-color-scheme:dark){rect{fill:#0d1117;stroke:#3d444d}text{fill:#e6edf3}
.s31{fill:#ff7b72}.s32{fill:#56d364}.s36{fill:#79c0ff}}
"""
_UP = re.compile(r"\x1b\[(\d+)A")
_STYLED = re.compile(r"\x1b\[(\d+)m(.*?)\x1b\[0m")


def main() -> None:
    lines = screen(terminal_output(sys.executable, "-m", "mistralwire", "demo"))
    PICTURE.write_text(svg(lines))
    print(f"{PICTURE.name}: {len(lines)} lines, {PICTURE.stat().st_size} bytes")


def terminal_output(*command: str) -> str:
    """Run a command on a terminal of 80 columns, and return what it writes."""
    folder = pathlib.Path(command[0]).parent
    # The demonstration names its program as one would type it: without a folder on the PATH.
    path = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": str(COLUMNS), "TERM": "xterm"}
    ours, theirs = pty.openpty()
    output = b""
    with subprocess.Popen(command, stdout=theirs, env=os.environ | path) as process:
        os.close(theirs)
        try:
            while data := os.read(ours, 65_536):
                output += data
        except OSError:  # Linux's end of a terminal
            os.close(ours)
    if process.returncode:
        sys.exit(process.returncode)
    return output.decode()


def screen(output: str) -> list[str]:
    """Return the lines that a terminal shows in the end: what is drawn again replaces what was there."""
    lines: list[str] = []
    for line in output.splitlines():
        if up := _UP.match(line):
            del lines[-int(up[1]) :]
        lines.append(_UP.sub("", line).rstrip())
    return lines


def svg(lines: list[str]) -> str:
    """Return a picture of lines with ANSI styles."""
    width, height = COLUMNS * CHARACTER_PX + 2 * MARGIN_PX, len(lines) * LINE_PX + 2 * MARGIN_PX
    texts = [
        f'<text x="{MARGIN_PX}" y="{MARGIN_PX + (number + 0.75) * LINE_PX:g}">'
        + _STYLED.sub(r'<tspan class="s\1">\2</tspan>', html.escape(line, quote=False))
        + "</text>"
        for number, line in enumerate(lines)
        if line
    ]
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    frame = f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="6"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([f"{head}<title>{TITLE}</title><style>{STYLE}</style>", frame, *texts, "</svg>", ""])


if __name__ == "__main__":
    main()
