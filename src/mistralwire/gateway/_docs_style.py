"""How the page of the docs looks, by day and by night."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--side:#f6f7f9;--text:#1c2430;--faint:#5b6675;--line:#dfe3e8;
--code:#f1f3f5;--link:#0b5cad;--get:#1a7f4b;--post:#b3470f}
@media(prefers-color-scheme:dark){:root{--back:#14181d;--side:#1a1f26;--text:#dde3ea;--faint:#9aa6b4;
--line:#2c343d;--code:#1f262e;--link:#7ab8ff;--get:#2f9e66;--post:#c9692f}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif;
display:grid;grid-template-columns:19rem minmax(0,1fr)}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1rem 1.25rem;background:var(--side);
border-right:1px solid var(--line);font-size:.875rem}
nav h2{font-size:.75rem;text-transform:uppercase;letter-spacing:.06em;color:var(--faint);
margin:1.25rem 0 .25rem}
nav ul{list-style:none;margin:0;padding:0}
nav li a{display:block;padding:.15rem 0;color:var(--text);overflow-wrap:anywhere}
main{max-width:68rem;padding:1.5rem 2.5rem 6rem}
h1{font-size:1.75rem;margin:0 0 .5rem}
section>h2{font-size:1.375rem;margin:3rem 0 .25rem}
h3{font-size:1.0625rem;margin:0 0 .25rem}
h3 a{color:inherit}
article{border-top:1px solid var(--line);padding:1.25rem 0;margin-top:1rem}
article:target{box-shadow:-1rem 0 0 var(--back),-1.25rem 0 0 var(--link)}
p{margin:.25rem 0}
header p{margin:.75rem 0}
small{color:var(--faint);font-weight:400}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.875em}
code{background:var(--code);border-radius:4px;padding:.1em .3em;overflow-wrap:anywhere}
pre{background:var(--code);border:1px solid var(--line);border-radius:8px;padding:.75rem 1rem;overflow-x:auto}
.path{margin:.5rem 0}
.method{display:inline-block;min-width:3.25rem;padding:.05rem .4rem;border-radius:4px;text-align:center;
font-size:.6875rem;letter-spacing:.04em;color:#fff;background:var(--get)}
.post{background:var(--post)}
.wide{overflow-x:auto}
summary{cursor:pointer;color:var(--link)}
table{border-collapse:collapse;width:100%;margin:.75rem 0;font-size:.9375rem}
th{text-align:left;font-size:.75rem;color:var(--faint);font-weight:600}
th,td{padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child code{white-space:nowrap}
td p{margin:0 0 .25rem}
td small code{white-space:nowrap}
@media(max-width:60rem){body{display:block}nav{position:static;height:auto;max-height:40vh;border-right:0;
border-bottom:1px solid var(--line)}main{padding:1rem}}
@media print{nav{display:none}body{display:block}}
"""
"""The style sheet: system fonts, no images."""
