// Charts as SVG, made anew at each change: little enough to draw that nothing needs to be kept.
const NS = "http://www.w3.org/2000/svg";
const svg = (tag, attributes = {}, ...inside) => {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...inside);
  return node;
};
const html = (tag, attributes = {}, ...inside) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...inside.filter((x) => x != null));
  return node;
};
const signed = (x, digits = 2) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);
const plain = (x, digits = 2) => (Object.is(Math.sign(+x.toFixed(digits)), -1) ? "−" : "") + Math.abs(x).toFixed(digits);
const scale = (low, high, from, to) => (x) => from + (high > low ? (x - low) / (high - low) : 0.5) * (to - from);
const ticks = (low, high, most = 5) => {
  const raw = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const out = [];
  for (let x = Math.ceil(low / step) * step; x <= high + 1e-9; x += step) out.push(+x.toFixed(10));
  return out;
};
const spread = (ys, gap) => {
  const order = ys.map((y, i) => [y, i]).sort((a, b) => a[0] - b[0]);
  for (let k = 1; k < order.length; k++) order[k][0] = Math.max(order[k][0], order[k - 1][0] + gap);
  const out = [];
  for (const [y, i] of order) out[i] = y;
  return out;
};
const join = (points) => points.map(([x, y], i) => (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("");

// Panels one below the other over one x axis; each line: {points: [[x, y, sure]], seat, name}.
function panels(root, {x, xs, parts, cursor, hatched, legend, whole}) {
  const width = Math.max(280, root.clientWidth), phone = width < 520;
  const left = 46, right = phone ? 66 : 118, inner = width - left - right;
  const at = scale(xs[0], xs[1], left, left + inner);
  const image = svg("svg", {viewBox: `0 0 ${width} 10`, role: "img", "aria-label": legend});
  const id = "hatch" + Math.random().toString(36).slice(2);
  image.append(svg("defs", {}, svg("pattern", {id, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)"},
    svg("line", {x1: 0, x2: 0, y1: 0, y2: 8, class: "hatch"}))));
  let top = 8;
  for (const part of parts) {
    const height = part.height, title = svg("text", {x: left, y: top + 12, class: part.gold ? "peak" : ""}, phone ? part.short || part.title : part.title);
    image.append(title);
    top += 22;
    const values = part.lines.flatMap((line) => line.points.map((p) => p[1]).concat((part.best && line.best ? line.best : []).map((b) => b[2]))).concat(part.include || []);
    let low = Math.min(...values), high = Math.max(...values);
    const margin = (high - low || 1) * 0.1;
    [low, high] = part.range || [low - margin, high + margin];
    const up = scale(low, high, top + height, top);
    for (const y of ticks(low, high, Math.max(2, Math.floor(height / 45)))) {
      image.append(svg("line", {x1: left, x2: left + inner, y1: up(y), y2: up(y), class: "axis"}),
        svg("text", {x: left - 8, y: up(y) + 4, "text-anchor": "end"}, part.percent ? Math.round(100 * y) + "%" : String(y).replace("-", "−")));
    }
    if (hatched != null && hatched < xs[1]) {
      image.append(svg("rect", {x: at(hatched), width: at(xs[1]) - at(hatched), y: top, height, fill: `url(#${id})`}));
    }
    const ends = spread(part.lines.map((line) => up(line.points[line.points.length - 1][1]) + 4), 15);
    part.lines.forEach((line, i) => {
      const group = svg("g", {class: "c" + line.seat});
      const cut = line.points.findIndex((p) => !p[2]), sure = cut < 0 ? line.points.length : cut;
      const place = ([px, py]) => [at(px), up(py)];
      group.append(svg("path", {d: join(line.points.slice(0, sure).map(place)), class: "line"}));
      if (cut > 0) group.append(svg("path", {d: join(line.points.slice(sure - 1).map(place)), class: "line doubt"}));
      const last = line.points[line.points.length - 1];
      group.append(svg("text", {x: at(last[0]) + 8, y: ends[i], class: "name"}, phone ? line.name.split(" ")[0] : line.name));
      for (const [n, px, py] of part.best && line.best ? line.best : []) {
        if (n === 1 || px > xs[1]) continue;
        group.append(svg("circle", {cx: at(px), cy: up(py), r: 4, class: "hollow"}, svg("title", {}, `best of ${n}`)));
        if (!i) group.append(svg("text", {x: at(px), y: up(py) - 9, "text-anchor": n === 2 ? "start" : "middle"}, n === 2 ? "n = 2" : String(n)));
      }
      if (part.peak && !i && sure > 2) {
        const peak = line.points.slice(0, sure).reduce((a, b) => (b[1] > a[1] ? b : a));
        group.append(svg("text", {x: at(peak[0]), y: up(peak[1]) + 20, class: "peak", "text-anchor": "middle"}, "▴ peak"));
      }
      if (line.here) group.append(svg("circle", {cx: at(line.here[0]), cy: up(line.here[1]), r: 6, class: "dot"}));
      image.append(group);
    });
    if (cursor != null) image.append(svg("line", {x1: at(cursor), x2: at(cursor), y1: top, y2: top + height, class: "cursor"}));
    top += height + 12;
  }
  for (const t of ticks(xs[0], xs[1], phone ? 4 : 8).filter((t) => !whole || Number.isInteger(t))) image.append(svg("text", {x: at(t), y: top + 6, "text-anchor": "middle"}, String(t)));
  image.append(svg("text", {x: left + inner / 2, y: top + 26, "text-anchor": "middle"}, x));
  image.setAttribute("viewBox", `0 0 ${width} ${top + 34}`);
  root.replaceChildren(image);
}

function cloud(root, usual, now, yours, seat, legend) {
  const width = Math.max(260, root.clientWidth), height = Math.min(300, width * 0.62), edge = 12;
  const all = usual.concat(now, yours ? [yours] : []);
  const range = (k) => [Math.min(...all.map((p) => p[k])), Math.max(...all.map((p) => p[k]))];
  const x = scale(...range(0), edge, width - edge), y = scale(...range(1), height - edge, edge);
  const image = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": legend, class: "c" + seat});
  for (const p of usual) image.append(svg("circle", {cx: x(p[0]), cy: y(p[1]), r: 2.6, class: "usual"}));
  for (const p of now) image.append(svg("circle", {cx: x(p[0]), cy: y(p[1]), r: 3.4, class: "now"}));
  if (yours) image.append(svg("circle", {cx: x(yours[0]), cy: y(yours[1]), r: 7, class: "yours"}));
  root.replaceChildren(image);
}

function bars(root, names, now, usual, most, seat) {
  const box = html("div", {class: "means"});
  names.forEach((name, i) => {
    const image = svg("svg", {viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "c" + seat, "aria-hidden": "true"},
      svg("rect", {x: 0, y: 1, width: 100, height: 8, class: "track"}),
      svg("rect", {x: 0, y: 1, width: Math.min(100, (100 * now[i]) / most[i]), height: 8, class: "fill"}),
      svg("line", {x1: (100 * usual[i]) / most[i], x2: (100 * usual[i]) / most[i], y1: 0, y2: 10, class: "tick", "vector-effect": "non-scaling-stroke"}));
    box.append(html("span", {}, name.replace("_", " ")), image, html("b", {}, `${usual[i].toFixed(2)} → ${now[i].toFixed(2)}`));
  });
  root.replaceChildren(box);
}
