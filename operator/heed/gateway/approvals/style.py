"""The style of the pages of approval links: one sheet within the page, for phones first, light and dark."""

import base64
import hashlib
from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--page:#eef2f4;--card:#fff;--text:#15202b;--quiet:#51606e;--line:#cfd8df;--field:#fff;
--accent:#00696b;--on-accent:#fff;--soft:#e3f1f1;--bad:#a3162b;--bad-soft:#fdecee;--good:#14693a;--good-soft:#e5f4ea}
@media(prefers-color-scheme:dark){:root{--page:#0f1519;--card:#182026;--text:#e7edf1;--quiet:#a3b1bc;--line:#34414b;
--field:#0f1519;--accent:#5cc9c6;--on-accent:#04211f;--soft:#15312f;--bad:#ff9aa8;--bad-soft:#3a171d;--good:#86dba6;
--good-soft:#14301f}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;overflow-wrap:anywhere}
main{max-width:40rem;margin:0 auto;padding:1rem 1rem 3rem}
.brand{display:flex;align-items:center;gap:.5rem;margin:.25rem 0 .75rem;color:var(--quiet);font-size:.875rem}
.brand b{color:var(--accent);letter-spacing:.02em}
.card{background:var(--card);border:1px solid var(--line);border-radius:.875rem;padding:1.25rem}
.card+.card{margin-top:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .5rem}
h2{font-size:1rem;margin:0 0 .75rem}
p{margin:.5rem 0}
.quiet{color:var(--quiet);font-size:.875rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:.75rem 0 0;font-size:.875rem}
dt{color:var(--quiet)}
dd{margin:0}
.details{border-top:1px solid var(--line);margin-top:1rem;padding-top:.5rem}
.details :is(h1,h2,h3,h4,h5,h6){font-size:1.0625rem;margin:1rem 0 .25rem}
.details :is(ul,ol){padding-left:1.25rem;margin:.5rem 0}
.details blockquote{margin:.5rem 0;padding-left:.75rem;border-left:3px solid var(--line);color:var(--quiet)}
.details pre{overflow-x:auto;background:var(--page);border-radius:.5rem;padding:.75rem;font-size:.875rem}
.details code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.9em}
.details table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.9375rem}
.details :is(th,td){border:1px solid var(--line);padding:.375rem .625rem;text-align:left}
.details :is(th,td).right{text-align:right}
.details :is(th,td).center{text-align:center}
a{color:var(--accent)}
.host{color:var(--quiet);font-size:.8125rem}
form{margin:0}
fieldset{border:0;padding:0;margin:0 0 1.25rem;min-width:0}
legend,.label{display:block;font-weight:600;padding:0;margin:0 0 .375rem}
.field{margin:0 0 1.25rem}
.choice,.check{display:flex;align-items:center;gap:.75rem;min-height:3rem;padding:.5rem .875rem;margin:0 0 .5rem;
border:1px solid var(--line);border-radius:.625rem;background:var(--field);cursor:pointer}
.choice:has(:checked),.check:has(:checked){border-color:var(--accent);background:var(--soft)}
.choice input,.check input{width:1.25rem;height:1.25rem;margin:0;flex:none;accent-color:var(--accent)}
input:not([type=radio],[type=checkbox]),select,textarea{display:block;width:100%;min-height:3rem;padding:.625rem .75rem;
font:inherit;color:inherit;background:var(--field);border:1px solid var(--line);border-radius:.625rem}
textarea{min-height:5.5rem;resize:vertical}
[aria-invalid=true]{border-color:var(--bad)!important}
:is(input,select,textarea,button,a):focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.help{margin:.25rem 0 0;color:var(--quiet);font-size:.875rem}
.wrong{margin:.25rem 0 0;color:var(--bad);font-size:.875rem;font-weight:600}
.note{border-radius:.625rem;padding:.75rem 1rem;margin:0 0 1rem}
.note.bad{background:var(--bad-soft);color:var(--bad)}
.note.good{background:var(--good-soft);color:var(--good)}
.note.wait{background:var(--soft)}
.note:last-child{margin-bottom:0}
.note+dl{margin-top:0}
.note p:first-child{margin-top:0}
.note p:last-child{margin-bottom:0}
button{display:block;width:100%;min-height:3.25rem;font:inherit;font-weight:600;border:0;border-radius:.625rem;
background:var(--accent);color:var(--on-accent);cursor:pointer}
footer{margin-top:1rem;color:var(--quiet);font-size:.8125rem}
"""
STYLE_SOURCE: Final = f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
