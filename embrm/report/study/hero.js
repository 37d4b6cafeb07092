// The first screen: what one head's path shows under the setting, with at most three other lines of gold beside it.
const OWN = { proxy: ["var(--proxy)", "circle"], gold: ["var(--gold)", "square"] };
const MOST = 3;
let head = null;
let watch = null;
const added = new Set();
const story = () => data.stories[at]?.find((s) => s.head === head) ?? data.stories[at]?.[0];
const stripOf = (told) => told.strips.find((s) => s.name === watch) ?? told.strips[0];
const nameOf = (line) => (line.rule === "mean" ? line.head : `${line.head}, ${line.rule}`);
const others = (told) => data.path.filter((l) => l.at === at && !(l.head === told.head && l.rule === told.rule));
const signed = (x) => (x < 0 ? "" : "+") + fixed(x, 1);

function heroRows(name, values, low, high, look) {
  return values.map((y, i) => ({
    line: name, kl: data.kl[i], y, low: low[i], high: high[i], interval: `${fixed(low[i])} to ${fixed(high[i])}`,
    marked: i % 4 === 0, ...look,
  }));
}

// Names beside the ends of lines, moved apart: `height` pixels show the values from low to high.
function spread(ends, [low, high], height, gap = 14) {
  const step = ((high - low) * gap) / height;
  const sorted = [...ends].sort((a, b) => a.y - b.y);
  sorted.forEach((end, i) => (end.at = Math.max(end.y, low + step / 2, i ? sorted[i - 1].at + step : -Infinity)));
  let top = high - step / 2;
  for (const end of sorted.reverse()) {
    end.at = Math.min(end.at, top);
    top = end.at - step;
  }
  return ends;
}

function showHero() {
  const told = story();
  for (const node of all("[data-hero]")) node.hidden = !told;
  $("without").hidden = Boolean(told);
  showSwitch();
  if (!told) return void ($("title").textContent = "Is the reward hacked, and what helps?");
  const line = data.path.find((l) => l.at === at && l.head === told.head && l.rule === told.rule);
  const strip = stripOf(told);
  $("title").textContent = told.title;
  document.title = `${told.title} A study by embrm`;
  $("under").textContent = told.setting;
  const asked = "Detected, at what false-alarm rate?";
  const among = strip && told.strips.length > 1 ? ` (${strip.name}${strip === told.strips[0] && strip.kind !== "not-run" ? `, the best of ${told.strips.length}` : ""})` : "";
  const detected = strip ? { question: asked, ...strip, detail: strip.detail + among } : { question: asked, answer: "not watched", detail: watchedHeads(), kind: "not-run" };
  $("tiles").replaceChildren(...[told.tiles[0], detected, told.tiles[1]].map(tile));
  $("notes").replaceChildren(...[...told.notes, ...(strip?.notes ?? [])].map((note) => make("li", note)));
  showTypical(told.typical);
  options($("head"), data.stories[at].map((s) => s.head), (v) => v, told.head);
  options($("strip-of"), told.strips.map((s) => s.name), (v) => v, strip?.name);
  showAdded(told);
  drawHero(told, line, strip);
}

function watchedHeads() {
  const heads = data.stories[at].filter((s) => s.strips.length).map((s) => s.head);
  return heads.length ? `no detector watched this head; watched: ${heads.join(", ")}` : "no detector looked at this setting";
}

function drawHero(told, line, strip) {
  const styles = (name, by) => data.styles[by][name];
  const beside = others(told).filter((l) => added.has(nameOf(l)));
  const proxy = heroRows("proxy", line.proxy_estimate ?? [], line.proxy_low ?? [], line.proxy_high ?? [],
    { colour: OWN.proxy[0], dash: [1, 0], shape: OWN.proxy[1] });
  const looks = [{ colour: OWN.gold[0], dash: [1, 0], shape: OWN.gold[1] }, ...beside.map((l, i) => (
    { colour: ["var(--one)", "var(--two)", "var(--three)"][i], dash: [[7, 3], [2, 2.5], [10, 3, 2, 3]][i], shape: ["triangle-up", "diamond", "cross"][i] }))];
  const golds = [line, ...beside].map((l, i) => heroRows(i ? nameOf(l) : "gold", l.estimate, l.low, l.high, looks[i]));
  for (const row of golds.slice(1).flat()) row.low = row.high = row.y; // bands would hide each other
  const gold = golds.flat();
  const small = innerWidth < 700;
  const last = Math.max(...golds.map((rows) => rows.at(-1).kl), strip?.kl.at(-1) ?? 0);
  const right = last * (small ? 1.5 : 1.22); // room for names
  const floor = Math.min(0, ...gold.map((r) => r.low));
  const top = Math.max(...gold.map((r) => r.high), 1e-6) * 1.25;
  const proxyTop = Math.max(...proxy.map((r) => r.high), 1e-6) * 1.12;
  // Both zeros stand at one height, unless that would press the proxy flat.
  const domains = { gold: [floor, top], proxy: [Math.max(floor / top, -0.3) * proxyTop, proxyTop] };
  const height = views.hero?.height() ?? 300;
  const out = Math.max(...golds.map((rows) => rows.at(-1).kl));
  const end = (rows, unit, domain) => {
    const { y, colour, line: name } = rows.at(-1);
    const text = unit ? `${name} ${signed(y)}${small ? "" : ` ${unit}`}` : name;
    return { kl: out, colour, said: text, y, share: (y - domain[0]) / (domain[1] - domain[0]) };
  };
  const ends = [...(proxy.length ? [end(proxy, "sd", domains.proxy)] : []), ...golds.map((rows, i) => end(rows, i ? "" : "points", domains.gold))];
  spread(ends.map((e) => Object.assign(e, { y: e.share })), [0, 1], height);
  const placed = (list, [low, high]) => list.map((e) => ({ ...e, at: low + e.at * (high - low) }));
  const corners = ([low, high]) => [{ kl: 0, y: low }, { kl: right, y: high }];
  const peak = line.estimate.reduce((best, y, i) => (y > line.estimate[best] ? i : best), 0);
  const alarm = strip?.alarm ?? null;
  const rule = alarm === null ? [] : [{ kl: alarm, said: "alarm" }];
  const n = proxy.length ? 1 : 0;
  fill("hero", {
    proxy, gold, proxy_ends: placed(ends.slice(0, n), domains.proxy), gold_ends: placed(ends.slice(n), domains.gold),
    proxy_corners: corners(domains.proxy), gold_corners: corners(domains.gold), alarm: rule,
    peak: peak < line.estimate.length - 1 ? [{ kl: data.kl[peak], y: line.estimate[peak], said: "gold peaks" }] : [],
  });
  $("strip-figure").hidden = !strip;
  if (!strip) return;
  fill("strip", {
    shown: strip.kl.map((kl, i) => ({ kl, y: strip.p[i], low: strip.low[i], high: strip.high[i] })),
    corners: [{ kl: 0, y: 1 }, { kl: right, y: 1 }], threshold: [{ y: data.alpha, said: small ? "threshold" : `threshold ${data.alpha}` }], alarm: rule,
  });
}

function tile({ question, answer, detail, kind }) {
  const node = make("li", undefined, `tile ${kind}`);
  node.append(make("h2", question), make("p", answer, "answered"), make("p", detail, "detail"));
  return node;
}

function showSwitch() {
  const now = data.settings[at];
  $("switch").replaceChildren(...data.mechanisms.map((name) => {
    const button = make("button", name);
    button.type = "button";
    button.setAttribute("aria-pressed", name === now?.[2]);
    button.disabled = !data.settings.some((s) => s[0] === now?.[0] && s[2] === name);
    button.addEventListener("click", () => {
      go("mechanism", name);
      [...$("switch").children].find((b) => b.textContent === name).focus(); // it was made anew
    });
    return button;
  }));
}

function showTypical(texts) {
  $("typical").hidden = !texts.length;
  $("typical-prompt").textContent = texts[0]?.prompt ?? "";
  $("typical-texts").replaceChildren(...texts.map((text) => {
    const node = make("article", undefined, "text");
    const at = `${text.at}, ${fixed(text.kl, 1)} nats: proxy ${signed(text.proxy)} sd, gold ${fixed(text.gold)} points`;
    node.append(make("h3", at), make("p", text.text, "said"));
    return node;
  }));
}

function showAdded(told) {
  const names = others(told).map(nameOf);
  for (const name of added) if (!names.includes(name)) added.delete(name);
  $("more-lines").hidden = !names.length;
  $("added").replaceChildren(...names.map((name) => {
    const button = make("button", name);
    button.type = "button";
    button.setAttribute("aria-pressed", added.has(name));
    button.addEventListener("click", () => {
      if (!added.delete(name)) keepFew(added, MOST - 1).add(name);
      show();
      [...$("added").children].find((b) => b.textContent === name)?.focus();
    });
    return button;
  }));
}

// A chart has at most so many lines: the first that was chosen makes room.
function keepFew(chosen, most) {
  while (chosen.size > most) chosen.delete(chosen.values().next().value);
  return chosen;
}
