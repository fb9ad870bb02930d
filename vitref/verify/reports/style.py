"""The look of the page, in light and in dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c1e21; --soft: #62676e; --rule: #dcdfe3; --panel: #f5f6f8;
  --bug: #c01f2f; --inherited: #b06a00; --rounding: #2f6db3; --exact: #6f7780;
  --systematic: #8440b8; --lower: #0b7f83; --good: #1d7a44;
  --noise: #2f6db31c; --plus: #fbe9ea; --minus: #e6f4ea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --ink: #e6e8ea; --soft: #9aa1a9; --rule: #33383e; --panel: #1e2125;
    --bug: #ff6b73; --inherited: #e8a33d; --rounding: #6fabea; --exact: #8b939c;
    --systematic: #c790f0; --lower: #4fc6c9; --good: #5cc987;
    --noise: #6fabea1f; --plus: #3b2124; --minus: #1b3324;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
h1 {
  font-size: 1.3rem; font-weight: 500; line-height: 1.4; margin: 0 0 1rem; padding-left: 1rem;
  border-left: 5px solid;
}
h1.agree { border-color: var(--good); }
h1.differ { border-color: var(--bug); }
h1 b { margin-right: .3em; font-weight: 700; }
h1.agree b { color: var(--good); }
h1.differ b { color: var(--bug); }
h1, dd { overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0; }
code, pre, td.name {
  font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", Consolas, monospace; font-size: .86em;
}
.soft, .legend, figcaption { color: var(--soft); font-size: .9em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88em; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--rule); }
th, td { padding: .22rem .9rem .22rem 0; vertical-align: top; }
td { border-bottom: 1px solid var(--panel); }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.name { font-size: 1em; white-space: nowrap; }
td.verdict { white-space: nowrap; }
td.bug { color: var(--bug); font-weight: 600; }
td.inherited { color: var(--inherited); }
td.systematic { color: var(--systematic); }
td.lower-precision { color: var(--lower); }
.worst { max-width: 46rem; }
.cause { background: var(--panel); border-radius: 8px; padding: .8rem 1.1rem; margin: .8rem 0; }
.cause h3 { margin: 0; }
.badge {
  font-weight: 600; font-size: .8em; border: 1px solid; border-radius: 1em; padding: .05em .6em;
  margin-left: .5em;  color: var(--soft); white-space: nowrap;
}
pre { margin: .5rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.45; }
pre span { display: block; padding: 0 .5em; }
pre .plus { background: var(--plus); }
pre .minus { background: var(--minus); }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--soft); }
.chart { display: block; width: 100%; min-width: 640px; height: auto; }
.chart text { font-size: 11px; fill: var(--soft); }
.chart .power { font-size: 8px; }
.chart .first {
  fill: var(--bug); font-size: 12px; font-weight: 600;
  paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round;
}
.grid { stroke: var(--rule); stroke-width: 1; }
.part { stroke: var(--rule); stroke-width: 1; stroke-dasharray: 2 3; }
.noise { fill: var(--noise); }
.allowed { fill: none; stroke: var(--bug); stroke-width: 1.2; stroke-dasharray: 6 4; }
.end-to-end { fill: none; stroke: var(--inherited); stroke-width: 1.2; stroke-opacity: .65; }
.mark { fill: none; stroke-width: 1.3; }
.mark.exact { stroke: var(--exact); }
.mark.rounding { fill: var(--rounding); }
.mark.lower-precision { fill: var(--lower); }
.mark.systematic { fill: var(--systematic); }
.mark.inherited { stroke: var(--inherited); fill: var(--paper); }
.mark.bug { stroke: var(--bug); stroke-width: 2.4; }
.legend span {
  display: inline-flex; align-items: center; gap: .35em; margin-right: 1.2em; white-space: nowrap;
}
.key { width: 20px; height: 16px; }
figure { margin: 1rem 0; }
.panels { display: flex; flex-wrap: wrap; gap: 1.4rem; margin-top: .4rem; }
.panel { width: 270px; }
.panel-title { font-size: .85em; color: var(--soft); margin-bottom: .2rem; }
.heat { width: 100%; display: block; image-rendering: pixelated; border: 1px solid var(--rule); }
.scale {
  display: flex; align-items: center; gap: .5em; font-size: .78em; color: var(--soft); margin-top: .3rem;
}
.bar { flex: 1; min-width: 0; height: 9px; }
@media print { details { display: block; } }
"""
