"""Names that a stranger chose: what a terminal, a spreadsheet, a browser or Markdown would act on."""

from __future__ import annotations

from typing import Final

TERMINAL: Final = (
    "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "\x9b31mred",
    "a\rb",
    "line\nbreak",
    "back\b\b\bspace",
    "nul\0",
    "del\x7f",
    "rtl \u202etxt.exe",
    "\u2066isolate\u2069",
    "zero\u200bwidth",
    "joined\u200d",
    "byte order \ufeffmark",
    "line\u2028separator",
    "paragraph\u2029separator",
    "tag \U000e0001\U000e0041",
    "lone \udc80 surrogate",
    "soft\u00adhyphen",
    "private \ue000",
    "filler \u3164",
    "zalgo" + "\u0301\u0316" * 40,
)
FORMULAS: Final = (
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil","x")',
    "+cmd|' /C calc'!A0",
    "-cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\uff1dcmd",
    "'=already marked",
    "-5+cmd",
)
PAGE: Final = (
    "<script>document.title='sprung'</script>",
    "</script><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "</style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' onfocus='alert(1)' autofocus y='",
    '<a href="javascript:alert(1)">x</a>',
    "]]><!--<iframe src=//evil>",
    "{{ 7 * 7 }}{% for x in () %}",
    "${7*7}<!ENTITY x>",
    "&lt;script&gt;&amp;",
)
MARKDOWN: Final = (
    "![x](https://evil/x.png)",
    "[x](javascript:alert(1))",
    "<https://evil>",
    "https://evil.example/look",
    "www.evil.example",
    "\n---\nlicense: mit\ntags: [owned]\n---\n# Owned",
    "---",
    "# heading",
    "> quote",
    "1. item",
    "```\nfence",
    "`code",
    "a | b | c",
    "<!-- comment",
    "<details open ontoggle=alert(1)>",
    "*bold* _it_ ~~gone~~ $x^2$",
    "&#60;script&#62;",
    "!!python/object/apply:os.system ['touch x']",
    "*alias &anchor: value # comment",
    "@everyone #1",
)
ALL: Final = (*TERMINAL, *FORMULAS, *PAGE, *MARKDOWN)
