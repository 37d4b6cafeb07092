const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const make = (tag, text, name) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
};
const fixed = (x, digits = 2) => (x === null || x === undefined ? "–" : x.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", ""));

// Charts take the page's ink, so that dark mode and paper need no redrawing.
const faint = { domainOpacity: 0.4, tickOpacity: 0.4, gridOpacity: 0.13 };
const ink = Object.fromEntries(["label", "title", "domain", "tick", "grid"].map((k) => [k + "Color", "currentColor"]));
const look = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: null },
  axis: { ...ink, ...faint, titleFontWeight: "normal", titleFontSize: 12, labelFontSize: 11, labelOverlap: true },
  axisX: { grid: false },
};
const views = {};
const embed = async (name) => {
  const options = { config: look, actions: false, renderer: "svg", tooltip: { theme: "custom" }, logLevel: 1 };
  views[name] = (await vegaEmbed("#" + name, data.charts[name], options)).view;
};
const fill = (name, sets) => {
  if (!views[name]) return undefined; // it is folded away, and drawn when it is opened
  for (const [set, rows] of Object.entries(sets)) views[name].data(set, rows);
  return views[name].runAsync();
};

const options = (select, values, label, value) => {
  select.replaceChildren(...values.map((v, i) => {
    const option = make("option", label(v));
    option.value = i;
    option.selected = v === value;
    return option;
  }));
  select.disabled = values.length < 2;
  select.values = values;
};
