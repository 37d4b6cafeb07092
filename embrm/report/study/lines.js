// What is selected: a setting (data set, pairs, mechanism, flips), and what the lines are (all heads, or a head's rules).
const FIELDS = ["dataset", "pairs", "mechanism", "flips"];
const WIDTH = ["dataset", "mechanism", "pairs", "flips"]; // the order in which a setting is looked for
const written = {
  dataset: (v) => v,
  pairs: (v) => v.toLocaleString("en").replaceAll(",", "\u202f"),
  mechanism: (v) => v,
  flips: (v) => Math.round(100 * v) + "\u202f%",
};
let at = data.start;
const seen = {}; // names of the lines that are shown: of all heads, and of each head's rules
const CONTROLS = ["oracle", "length", "random"];
const SHOWN = 5; // lines in one chart

function fillSettings() {
  const now = data.settings[at];
  const value = (s, field) => s[FIELDS.indexOf(field)];
  WIDTH.forEach((field, i) => {
    const every = [...new Set(data.settings.map((s) => value(s, field)))];
    const before = WIDTH.slice(0, i);
    options($(field), every, written[field], value(now, field));
    // Grey is what was not run beside what is selected before it.
    const there = data.settings.filter((s) => before.every((f) => value(s, f) === value(now, f)));
    [...$(field).options].forEach((o, k) => (o.disabled = !there.some((s) => value(s, field) === every[k])));
  });
  const [dataset, pairs, mechanism, flips] = now.map((v, i) => written[FIELDS[i]](v));
  for (const node of all(".where:not(#under)")) {
    const here = `${dataset}: ${pairs} training pairs, ${mechanism}, ${flips} label noise`;
    node.textContent = "plain" in node.dataset ? here : `${here}; ${mode().said}`;
  }
  for (const node of all("[data-setting]")) node.hidden = Number(node.dataset.setting) !== at;
}

function go(field, value) {
  const i = FIELDS.indexOf(field);
  const want = [...data.settings[at]];
  want[i] = value;
  const miss = (s) => (s[i] !== want[i] ? 100 : 0) + (s[0] !== want[0] ? 10 : 0) + s.filter((v, k) => v !== want[k]).length;
  at = data.settings.indexOf([...data.settings].sort((a, b) => miss(a) - miss(b))[0]);
  fillLines();
  show();
}

// Every head under one selection rule, or every rule of one head: what tells the lines apart, and which of the measured lines they are.
function mode() {
  const option = $("lines")?.selectedOptions[0];
  if (!option) return { by: "head", name: "", keep: () => true, said: "" };
  const { by, name } = option.dataset;
  const other = by === "head" ? "rule" : "head";
  return { by, name, keep: (line) => line[other] === name, said: titled(by, name) };
}

const titled = (by, name) => (by === "head" ? `selection rule: ${name}` : `head: ${name}`);

function fillLines(asked) {
  const now = $("lines").selectedOptions[0]?.dataset;
  const before = asked ?? (now ? `${now.by === "head" ? "rule" : "head"}:${now.name}` : "rule:mean");
  const here = [...data.path, ...data.bon].filter((line) => line.at === at);
  const group = (by, other, label) => {
    const node = make("optgroup");
    node.label = label;
    for (const name of new Set(here.map((line) => line[other]))) {
      if (by === "rule" && new Set(here.filter((l) => l.head === name).map((l) => l.rule)).size < 2) continue;
      const option = make("option", titled(by, name));
      Object.assign(option.dataset, { by, name });
      option.selected = `${other}:${name}` === before;
      node.append(option);
    }
    return node;
  };
  const groups = [group("head", "rule", "every head, one selection rule"), group("rule", "head", "every selection rule, one head")];
  $("lines").replaceChildren(...groups.filter((g) => g.children.length));
}

function lines(measure) {
  const { by, keep } = mode();
  const controls = (data.controls[data.settings[at][0]] ?? {})[measure] ?? [];
  const own = data[measure].filter((line) => line.at === at && keep(line)).map((line) => ({ ...line, line: line[by] }));
  return [...own, ...controls.map((line) => ({ ...line, line: line.head }))];
}

function names(kind) {
  if (kind === "runs") return data.together.map((l) => l.line);
  if (kind === "head") return data.reliability.filter((r) => r.at === at).map((r) => r.head);
  const found = [...new Set([...lines("path"), ...lines("bon")].map((line) => line.line))];
  return [...found.filter((name) => !CONTROLS.includes(name)), ...found.filter((name) => CONTROLS.includes(name))];
}

function seenBy(kind) {
  if (kind === "runs") return "runs";
  const { by, name } = mode();
  return kind === "head" || by === "head" ? "heads" : `rules of ${name}`;
}

// The oracle, which stretches every axis, and the other controls are shown when asked for.
const seenOf = (kind) => (seen[seenBy(kind)] ??= new Set([...names(kind).filter((l) => !CONTROLS.includes(l)).slice(0, SHOWN - 1),
  ...names(kind).filter((line) => line === "random")]));

function legend(node) {
  const kind = node.dataset.legend;
  const by = kind === "lines" ? mode().by : kind;
  const list = names(kind);
  const chosen = seenOf(kind);
  const items = list.map((name) => {
    const { colour, dash } = data.styles[by][name];
    const button = make("button");
    button.type = "button";
    button.dataset.line = name;
    button.setAttribute("aria-pressed", chosen.has(name));
    const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    swatch.setAttribute("width", 26);
    swatch.setAttribute("height", 8);
    swatch.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [k, v] of Object.entries({ d: "M1 4H25", stroke: colour, "stroke-width": 3, "stroke-dasharray": dash[1] ? dash : "none" })) {
      path.setAttribute(k, v);
    }
    swatch.append(path);
    button.append(swatch, make("span", name));
    button.addEventListener("click", () => toggle(node, name, () => chosen.delete(name) || keepFew(chosen, SHOWN - 1).add(name)));
    return button;
  });
  const every = make("button", "hide all", "all");
  every.type = "button";
  every.dataset.line = "";
  every.addEventListener("click", () => toggle(node, "", () => chosen.clear()));
  node.replaceChildren(...[...items, every].map((button) => {
    const li = make("li");
    li.append(button);
    return li;
  }));
}

function toggle(node, name, change) {
  change();
  show();
  [...node.querySelectorAll("button")].find((button) => button.dataset.line === name)?.focus(); // it was made anew
}

function rows(measure, xs, x, values, band) {
  const { by } = mode();
  return lines(measure).filter((l) => seenOf("lines").has(l.line) && l[values]).flatMap((l) => l[values].map((y, i) => ({
    line: l.line, ...data.styles[by][l.line], [x]: xs[i], y, marked: i % 4 === 0,
    ...(band ? { low: l.low[i], high: l.high[i], interval: `${fixed(l.low[i])} to ${fixed(l.high[i])}` } : {}),
  })));
}

// Rows with the names beside the lines' ends.
function named(rows, x) {
  const last = Object.values(Object.groupBy(rows, (row) => `_${row.line}`)).map((line) => line.at(-1));
  const values = rows.flatMap((row) => [row.low ?? row.y, row.high ?? row.y]);
  const span = [Math.min(0, ...values), Math.max(0, ...values)];
  const right = Math.max(...rows.map((row) => row[x]));
  return { shown: rows, ends: spread(last.map(({ line, y, colour }) => ({ line, y, colour, [x]: right })), span, 280) };
}

// Training runs of several seeds, one line a reward.
function showTogether() {
  all("[data-legend=runs]").forEach(legend);
  const shown = data.together.filter((l) => seenOf("runs").has(l.line));
  for (const name of ["gold", "proxy"]) {
    fill(`all-${name}`, named(shown.flatMap(({ line, number, [name]: { estimate, low, high } }) => estimate.map((y, i) => ({
      line, ...data.styles.runs[line], step: number[i], y, low: low[i], high: high[i], marked: i % 10 === 0,
      interval: `${fixed(low[i])} to ${fixed(high[i])}` }))), "step"));
  }
}

function show() {
  showTogether();
  if (!data.settings.length) return;
  fillSettings();
  showHero();
  all("[data-legend]:not([data-legend=runs])").forEach(legend);
  fill("gold", named(rows("path", data.kl, "kl", "estimate", true), "kl"));
  fill("proxy", named(rows("path", data.kl, "kl", "proxy_estimate", false), "kl"));
  fill("best-of-n", named(rows("bon", data.sizes[data.settings[at][0]], "n", "estimate", true), "n"));
  const bins = data.reliability.filter((r) => r.at === at && seenOf("head").has(r.head));
  fill("reliability", { shown: bins.flatMap((r) => r.x.map((x, i) => (
    { line: r.head, ...data.styles.head[r.head], x, y: r.y[i], weight: r.weight[i] }))) });
  remember();
}
