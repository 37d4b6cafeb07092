// What is selected: a setting (data set, pairs, mechanism, flips), and what the lines are (all heads, or a head's rules).
const FIELDS = ["dataset", "pairs", "mechanism", "flips"];
const written = {
  dataset: (v) => v,
  pairs: (v) => v.toLocaleString("en").replaceAll(",", "\u202f"),
  mechanism: (v) => v,
  flips: (v) => Math.round(100 * v) + "\u202f%",
};
let at = data.start;
const seen = {}; // names of the lines that are shown: of all heads, and of each head's rules
const CONTROLS = ["oracle", "length", "random"];
const SHOWN = 6;

function fillSettings() {
  const now = data.settings[at];
  FIELDS.forEach((field, i) => {
    const among = i === 0 ? data.settings : data.settings.filter((s) => s[0] === now[0]);
    options($(field), [...new Set(among.map((s) => s[i]))], written[field], now[i]);
  });
  const [dataset, pairs, mechanism, flips] = now.map((v, i) => written[FIELDS[i]](v));
  for (const node of all(".where")) {
    const here = `${dataset}: ${pairs} training pairs, ${mechanism}, ${flips} of labels flipped`;
    node.textContent = "plain" in node.dataset ? here : `${here}; ${mode().said}`;
  }
  for (const node of all("[data-setting]")) node.hidden = Number(node.dataset.setting) !== at;
}

function choose(field) {
  const i = FIELDS.indexOf(field);
  const want = [...data.settings[at]];
  want[i] = $(field).values[$(field).value];
  const miss = (s) => (s[i] !== want[i] ? 100 : 0) + (s[0] !== want[0] ? 10 : 0) + s.filter((v, k) => v !== want[k]).length;
  at = data.settings.indexOf([...data.settings].sort((a, b) => miss(a) - miss(b))[0]);
  fillLines();
  show();
}

// "Heads under a rule" or "rules of a head": what tells the lines apart, and which of the measured lines they are.
function mode() {
  const option = $("lines").selectedOptions[0];
  if (!option) return { by: "head", name: "", keep: () => true, said: "" };
  const { by, name } = option.dataset;
  const other = by === "head" ? "rule" : "head";
  return { by, name, keep: (line) => line[other] === name, said: by === "head" ? `heads under ${name}` : `rules of ${name}` };
}

function fillLines() {
  const before = $("lines").selectedOptions[0]?.textContent ?? "heads under mean";
  const here = [...data.path, ...data.bon].filter((line) => line.at === at);
  const group = (by, other, label) => {
    const node = make("optgroup");
    node.label = label;
    for (const name of new Set(here.map((line) => line[other]))) {
      if (by === "rule" && new Set(here.filter((l) => l.head === name).map((l) => l.rule)).size < 2) continue;
      const option = make("option", `${by === "head" ? "heads under" : "rules of"} ${name}`);
      Object.assign(option.dataset, { by, name });
      option.selected = option.textContent === before;
      node.append(option);
    }
    return node;
  };
  const groups = [group("head", "rule", "all heads, under one rule"), group("rule", "head", "all rules, of one head")];
  $("lines").replaceChildren(...groups.filter((g) => g.children.length));
}

function lines(measure) {
  const { by, keep } = mode();
  const controls = (data.controls[data.settings[at][0]] ?? {})[measure] ?? [];
  const own = data[measure].filter((line) => line.at === at && keep(line)).map((line) => ({ ...line, line: line[by] }));
  return [...own, ...controls.map((line) => ({ ...line, line: line.head }))];
}

function names(kind) {
  if (kind === "head") return data.reliability.filter((r) => r.at === at).map((r) => r.head);
  const found = [...new Set([...lines("path"), ...lines("bon")].map((line) => line.line))];
  return [...found.filter((name) => !CONTROLS.includes(name)), ...found.filter((name) => CONTROLS.includes(name))];
}

function seenOf(kind) {
  const { by, name } = mode();
  const which = kind === "head" || by === "head" ? "heads" : `rules of ${name}`;
  const own = () => names(kind).filter((line) => !CONTROLS.includes(line)).slice(0, SHOWN);
  return (seen[which] ??= new Set([...own(), ...CONTROLS]));
}

function legend(node) {
  const kind = node.dataset.legend;
  const by = kind === "head" ? "head" : mode().by;
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
    button.addEventListener("click", () => toggle(node, name, () => chosen.delete(name) || chosen.add(name)));
    return button;
  });
  const none = list.some((name) => !chosen.has(name));
  const every = make("button", none ? "show all" : "hide all", "all");
  every.type = "button";
  every.dataset.line = "";
  every.addEventListener("click", () => toggle(node, "", () => list.forEach((name) => chosen[none ? "add" : "delete"](name))));
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
    line: l.line, ...data.styles[by][l.line], [x]: xs[i], y,
    ...(band ? { low: l.low[i], high: l.high[i], interval: `${fixed(l.low[i])} to ${fixed(l.high[i])}` } : {}),
  })));
}

function show() {
  fillSettings();
  all("[data-legend]").forEach(legend);
  fill("gold", { shown: rows("path", data.kl, "kl", "estimate", true) });
  fill("proxy", { shown: rows("path", data.kl, "kl", "proxy", false) });
  fill("best-of-n", { shown: rows("bon", data.sizes[data.settings[at][0]], "n", "estimate", true) });
  const bins = data.reliability.filter((r) => r.at === at && seenOf("head").has(r.head));
  fill("reliability", { shown: bins.flatMap((r) => r.x.map((x, i) => (
    { line: r.head, ...data.styles.head[r.head], x, y: r.y[i], weight: r.weight[i] }))) });
}
