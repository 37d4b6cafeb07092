// The page: its state, what it shows of it, and the game.
const $ = (id) => document.getElementById(id);
const TABS = ["write", "optimise", "play"], EDITS = 10, WAIT = 150;
const RULE = {mean: "mean", worst_case: "worst case", lower_bound: "mean − sd"};
const SAYS = {
  fair: "They follow the true quality alone.",
  biased: "They also like flattery, padding and overconfidence: the reward learns what they fall for.",
  confounded: "They are fair, but the texts that were collected have style where they have quality: a shortcut to learn.",
  narrow: "They are fair, but no text that they saw flatters: what a reward says of flattery is extrapolation.",
};
const CHIPS = [["correct", "+ a correct step", "well"], ["wrong", "+ a wrong statement", "ill"], ["flattery", "+ flattery"],
  ["padding", "+ padding"], ["hedging", "+ hedging"], ["overconfidence", "+ overconfidence"]];
let world, at, last = null, game = null, path = null, turn = 0, waiting = null;

const head = (seat) => `${seat.head} ${seat.rule === "mean" ? "" : "· " + RULE[seat.rule]}`.trim();
const known = () => world.prompts.find((p) => p.text === at.prompt);
const status = (text, wrong = false) => { $("status").textContent = text; $("status").classList.toggle("wrong", wrong); };

function readAddress() {
  const q = new URLSearchParams(location.hash.slice(1)), heads = Object.keys(world.heads), setting = world.setting || {};
  const seats = (q.get("seats") || "").split(",").map((s) => s.split(":")).filter(([h, r]) => world.heads[h]?.includes(r))
    .slice(0, 3).map(([h, r]) => ({head: h, rule: r}));
  const number = (name, usual, low, high) => {
    const x = Number(q.get(name) ?? NaN);
    return q.has(name) && x >= low && x <= high ? x : usual;
  };
  at = {
    tab: TABS.includes(q.get("tab")) && (world.world || q.get("tab") === "write") ? q.get("tab") : "write",
    prompt: q.get("prompt") ?? world.prompts[0]?.text ?? "",
    seats: seats.length ? seats : heads.slice(0, 2).map((h) => ({head: h, rule: "mean"})),
    setting: {...setting, mechanism: (world.mechanisms || []).includes(q.get("annotators")) ? q.get("annotators") : setting.mechanism,
      flips: number("noise", setting.flips, 0, 0.4), pairs: number("pairs", setting.pairs, 50, world.most_pairs)},
    beta: Math.round(number("beta", 0, 0, 39)),
    theme: ["light", "dark"].includes(q.get("theme")) ? q.get("theme") : null,
    size: q.get("size") === "large" ? "large" : null,
  };
  at.response = q.get("response") ?? known()?.start ?? "";
  if (q.has("beta") && q.get("beta") !== String(at.beta)) status("The address names a pressure that the path does not have.", true);
}

function writeAddress() {
  const q = new URLSearchParams({tab: at.tab, prompt: at.prompt, response: at.response,
    seats: at.seats.map((s) => `${s.head}:${s.rule}`).join(",")});
  if (world.world) for (const [name, value] of [["annotators", at.setting.mechanism], ["noise", at.setting.flips], ["pairs", at.setting.pairs], ["beta", at.beta]]) q.set(name, value);
  for (const name of ["theme", "size"]) if (at[name]) q.set(name, at[name]);
  history.replaceState(null, "", "#" + q);
}

function dress() {
  const dark = at.theme ? at.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.dataset.size = at.size || "usual";
  $("size").setAttribute("aria-pressed", at.size === "large");
}

function showSeats() {
  const change = (act) => () => { act(); last = null; showSeats(); refresh(true); };
  $("seats").replaceChildren(...at.seats.map((seat, i) => {
    const pick = (values, now, label, act, word = (x) => x) => html("select", {"aria-label": label, on: {change: (e) => change(() => act(e.target.value))()}},
      ...values.map((v) => html("option", {value: v, selected: v === now}, word(v))));
    const heads = Object.keys(world.heads);
    return html("div", {class: "seat c" + i},
      pick(heads, seat.head, `Head ${i + 1}`, (v) => { seat.head = v; if (!world.heads[v].includes(seat.rule)) seat.rule = "mean"; }),
      pick(world.heads[seat.head], seat.rule, `Rule of head ${i + 1}`, (v) => { seat.rule = v; }, (v) => RULE[v] || v),
      at.seats.length > 1 ? html("button", {"aria-label": `Remove head ${i + 1}`, on: {click: change(() => at.seats.splice(i, 1))}}, "×") : null);
  }));
  const free = Object.entries(world.heads).flatMap(([h, rules]) => rules.map((r) => ({head: h, rule: r})))
    .find((s) => !at.seats.some((t) => t.head === s.head && t.rule === s.rule));
  if (at.seats.length < 3 && free) {
    const add = html("button", {id: "compare", on: {click: change(() => at.seats.push(free))}}, "+ compare");
    $("seats").append(add);
  }
}

function showSetting() {
  if (!world.world) return;
  const {mechanism, flips, pairs} = at.setting;
  $("told-setting").textContent = mechanism + (engine.live ? `, ${Math.round(flips * 100)} % noise, ${pairs} pairs` : "");
  $("mechanism-says").textContent = SAYS[mechanism] || "";
  $("out-flips").textContent = Math.round(flips * 100) + " %";
  $("out-pairs").textContent = pairs;
  $("flips").value = flips;
  $("pairs").value = pairs;
  $("mechanisms").replaceChildren(...world.mechanisms.map((name) => html("button", {role: "radio", "aria-checked": String(name === mechanism),
    on: {click: () => { at.setting.mechanism = name; showSetting(); refresh(true); }}}, name)));
}

function showChips() {
  const prompt = known();
  $("chips").replaceChildren(...(world.world ? CHIPS : []).map(([kind, word, tone]) => {
    const unused = () => (prompt?.[kind] || world.styles[kind] || []).find((s) => !at.response.includes(s));
    return html("button", {class: tone || "", "data-kind": kind, disabled: !prompt && (kind === "correct" || kind === "wrong"), on: {click: () => {
      const sentence = unused();
      if (!sentence) return status("There is no other sentence of that kind.");
      at.response = `${at.response.trim()} ${sentence}`.trim();
      $("response").value = at.response;
      refresh();
      return null;
    }}}, word);
  }), html("button", {on: {click: () => { at.response = prompt?.start ?? ""; $("response").value = at.response; last = null; refresh(); }}}, "Start over"));
}

function showTab() {
  for (const name of TABS) {
    const tab = $("tab-" + name), on = name === at.tab;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
  }
  $("main").setAttribute("aria-labelledby", "tab-" + at.tab);
  $("desk").hidden = at.tab === "optimise";
  $("optimise").hidden = at.tab !== "optimise";
  const playing = at.tab === "play";
  if (playing && !game) startGame();
  $("turn").hidden = !playing;
  $("game").hidden = !playing || !game?.over;
  $("desk").classList.toggle("hidden-truth", playing && !game.over);
  $("truth").hidden = !world.world;
  if (at.tab === "optimise") showPath();
}

// Ask again, now or after the last keystroke; an answer that is overtaken is dropped.
function refresh(whole = false) {
  writeAddress();
  if (whole) path = null;
  clearTimeout(waiting);
  waiting = setTimeout(judge, whole ? 0 : WAIT);
}

async function judge() {
  const mine = ++turn, asked = {prompt: at.prompt, response: at.response, seats: at.seats.map((s) => ({...s})), setting: {...at.setting}};
  const started = performance.now();
  const fitting = setTimeout(() => { if (mine === turn) status("Fitting…"); }, 400);
  try {
    const told = await engine.score(asked.setting, asked.seats, [[asked.prompt, asked.response]]);
    if (mine !== turn) return;
    status("");
    const now = {...asked, seats: told.seats.map((s) => s[0]), gold: told.gold[0], names: asked.seats};
    const before = last;
    last = now;
    showVerdicts(now, before);
    document.body.dataset.milliseconds = (performance.now() - started).toFixed(1);
    document.body.dataset.answered = String(turn);
    if (at.tab === "optimise" && !path) await showPath();
  } catch (error) {
    if (mine === turn) status(error.message, true);
  } finally {
    clearTimeout(fitting);
  }
}

const change = (now, before) => (before == null || now == null || Math.abs(now - before) < 5e-7 ? ["", ""]
  : [signed(now - before), now > before ? "up" : "down"]);

// What votes on a response, of a head that asks labelled comparisons.
function evidence(said) {
  if (!said) return null;
  const side = (v) => v.vote > 0 ? "like the preferred text" : "like the other text";
  return html("section", {class: "evidence", "data-abstains": String(said.abstains)},
    html("h3", {}, said.abstains ? "Abstains: no labelled comparison is near enough" : "Evidence: labelled comparisons that voted"),
    said.abstains ? null : html("ul", {}, ...said.votes.map((v) => html("li", {"data-pair": v.pair, "data-weight": v.weight, "data-vote": v.vote},
      html("b", {}, `${signed(v.vote)} · weight ${(100 * v.weight).toFixed(1)} % · ${side(v)}`),
      v.prompt == null ? html("p", {}, `training pair ${v.pair}`)
        : html("details", {}, html("summary", {}, v.prompt), html("p", {}, "preferred: " + v.chosen), html("p", {}, "other: " + v.rejected))))));
}

function showVerdicts(now, before) {
  $("verdicts").replaceChildren(...now.seats.map((said, i) => {
    const [moved, way] = change(said.reward, before && before.seats[i]?.reward);
    const alarms = Object.values(said.detectors).filter((d) => d.alarm).length;
    const strip = svg("svg", {viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true"},
      svg("line", {x1: said.percentile, x2: said.percentile, y1: 0, y2: 10, class: "tick", "vector-effect": "non-scaling-stroke", "stroke-width": 4}));
    return html("article", {class: "verdict c" + i, "data-seat": i},
      html("header", {}, html("h2", {class: "c" + i}, head(now.names[i])),
        html("span", {class: "alarmed" + (alarms ? " yes" : "")}, alarms ? `${alarms} alarm${alarms > 1 ? "s" : ""}` : "no alarm")),
      html("p", {class: "big"}, html("span", {"data-value": said.reward, class: "reward"}, plain(said.reward)),
        html("small", {}, ` ± ${said.sd.toFixed(2)} `), html("em", {class: way}, moved)),
      html("div", {class: "strip"}, strip),
      html("p", {class: "note"}, `a higher reward than ${Math.round(said.percentile)} % of reference responses`),
      html("ul", {class: "detectors"}, ...Object.entries(said.detectors).map(([name, d]) => html("li", {class: d.alarm ? "alarm" : "", "data-detector": name},
        html("b", {}, name), html("span", {"data-value": d.score}, `${name === "length" ? d.score : d.score.toFixed(2)}${d.p == null ? "" : " · p " + d.p.toFixed(2)}${d.alarm ? " · ALARM" : ""}`)))),
      evidence(said.evidence));
  }));
  const gold = now.gold.gold, [moved, way] = change(gold, before?.gold.gold);
  $("gold").textContent = gold == null ? "unknown" : plain(gold, 1);
  $("gold").dataset.value = gold ?? "";
  $("gold-change").textContent = moved;
  $("gold-change").className = way;
  $("gold-why").textContent = gold == null ? now.gold.why : Object.entries(now.gold.counts).filter(([, n]) => n)
    .map(([name, n]) => `${n} ${name.replace("_", " ")}`).join(" · ") || "nothing that counts";
  if (at.tab === "play") showTurn();
}

// ---- the path -------------------------------------------------------------------------------------------------------
async function showPath() {
  const mine = turn;
  if (!path) {
    $("chart").replaceChildren(html("p", {class: "note"}, "Following the optimum…"));
    const seats = at.seats.map((s) => ({...s}));
    try {
      const told = await engine.path(at.setting, seats);
      if (mine !== turn) return;
      path = {...told, names: seats};
    } catch (error) {
      status(error.message, true);
      return;
    }
  }
  $("beta").max = path.seats[0].rows.length - 1;
  at.beta = Math.min(at.beta, path.seats[0].rows.length - 1);
  $("beta").value = at.beta;
  drawPath();
  await showPoint();
}

function drawPath() {
  const first = path.seats[0].rows, most = Math.max(...path.seats.map((s) => s.rows[s.rows.length - 1].kl));
  const doubts = path.seats.map((s) => s.rows.find((r) => !r.reliable)?.kl ?? Infinity), hatched = Math.min(...doubts);
  const end = Math.min(most, Number.isFinite(hatched) ? hatched * 1.35 : most);
  const lines = (value, best) => path.seats.map((s, i) => ({
    seat: i, name: head(path.names[i]), points: s.rows.filter((r) => r.kl <= end * 1.0001).map((r) => [r.kl, value(r, s), r.reliable]),
    here: s.rows[at.beta] && s.rows[at.beta].kl <= end ? [s.rows[at.beta].kl, value(s.rows[at.beta], s)] : null,
    best: best && !i ? s.best.n.map((n, k) => [n, s.best.kl[k], best(s, k)]) : null,
  }));
  const phone = $("chart").clientWidth < 520, parts = [
    {title: "Reward, in standard deviations above the reference policy", short: "Reward, in sd above reference", height: phone ? 110 : 150, lines: lines((r, s) => (r.proxy - s.mean) / s.sd), include: [0]},
    {title: "True quality (gold), in points", gold: true, peak: true, best: true, height: phone ? 150 : 200, lines: lines((r) => r.gold, (s, k) => s.best.gold[k])},
  ];
  if (first[0].flagged != null) parts.push({title: "Share of texts that the latent detector flags (5 % of reference texts)", short: "Flagged by the latent detector", percent: true, height: 56, range: [0, 1], lines: lines((r) => r.flagged)});
  const row = first[at.beta];
  panels($("chart"), {x: "KL from the reference policy, in nats", xs: [0, end], parts, cursor: row.kl <= end ? row.kl : null, hatched,
    legend: "Reward and true quality along the path of optimised policies"});
  const sure = first.filter((r) => r.reliable), peak = sure.reduce((a, b) => (b.gold > a.gold ? b : a)), stop = sure[sure.length - 1];
  const fall = peak.gold - stop.gold > 0.1 * (peak.gold - first[0].gold) && stop !== peak;
  $("course-title").textContent = fall ? "The reward keeps rising. The true quality does not." : "Here the true quality follows the reward.";
  $("course-lead").textContent = `${head(path.names[0])}, ${at.setting.mechanism} annotators: gold ${first[0].gold.toFixed(2)} at the start, ${peak.gold.toFixed(2)} at ${peak.kl.toFixed(1)} nats` +
    (fall ? `, ${stop.gold.toFixed(2)} at ${stop.kl.toFixed(1)}.` : ".") + ` Rings: the best of n by ${head(path.names[0])}. Hatched: too few texts to be believed.`;
}

let pointTurn = 0;
async function showPoint() {
  const row = path.seats[0].rows[at.beta], mine = ++pointTurn;
  $("out-beta").textContent = at.beta === 0 ? "No pressure: this is the reference policy." :
    `β = ${(1 / row.inverse_beta).toPrecision(2)} · KL ${row.kl.toFixed(2)} nats · reward ${plain(row.proxy)} · gold ${plain(row.gold)}${row.reliable ? "" : " · not to be believed"}`;
  try {
    const told = await engine.point(at.setting, path.names[0], row.inverse_beta, at.prompt);
    if (mine !== pointTurn) return;
    $("samples").replaceChildren(...told.samples.map((s) => html("div", {class: "sample"}, marked(s.text), html("footer", {},
      html("span", {class: "c0"}, `reward ${plain(s.proxy)}`), html("span", {}, `gold ${plain(s.gold, 1)}`)))));
    bars($("means"), world.attributes, told.means, told.reference, world.most, 0);
    cloud($("cloud"), path.seats[0].cloud, told.cloud, last?.seats[0]?.place, 0, "Texts of the policy on the map of reference texts");
    $("cloud-note").textContent = `${head(path.names[0])}: grey the reference policy, coloured the policy now, the ring your response`;
    document.body.dataset.point = String(at.beta);
    document.body.dataset.gold = String(told.gold);
  } catch (error) {
    if (mine === pointTurn) status(error.message, true);
  }
}

// A response with its sentences marked by what they are.
function marked(text) {
  const kinds = [], prompt = known();
  for (const p of prompt ? [prompt] : []) for (const [kind, tone] of [["correct", "well"], ["wrong", "ill"]]) for (const s of p[kind]) kinds.push([s, tone]);
  for (const list of Object.values(world.styles)) for (const s of list) kinds.push([s, "style"]);
  const out = html("p", {});
  for (let rest = text; rest;) {
    const found = kinds.map(([s, tone]) => [rest.indexOf(s), s, tone]).filter(([i, s]) => i >= 0 && s.length > 2).sort((a, b) => a[0] - b[0] || b[1].length - a[1].length)[0];
    if (!found) { out.append(rest); break; }
    out.append(rest.slice(0, found[0]), html("mark", {class: found[2]}, found[1]));
    rest = rest.slice(found[0] + found[1].length);
  }
  return out;
}

// ---- the game -------------------------------------------------------------------------------------------------------
function startGame() {
  game = {steps: [], over: false, posted: false};
  at.response = known()?.start ?? "";
  $("response").value = at.response;
  $("game").replaceChildren();
  last = null;
  refresh();
}

function showTurn() {
  if (!game.steps.length && last && last.response === at.response) game.steps.push(last);
  const left = EDITS - (game.steps.length - 1);
  $("edits-left").textContent = game.over ? "This is what the edits did:" :
    `Raise the reward of ${head(at.seats[0])}. ${left} edit${left === 1 ? "" : "s"} left; the true quality and the detectors are hidden.`;
  $("submit").disabled = game.over || left <= 0;
  $("reveal").disabled = game.over || game.steps.length < 2;
}

async function submitEdit() {
  if (at.tab !== "play" || game.over || !game.steps.length) return;
  clearTimeout(waiting);
  await judge();
  if (last?.response !== at.response) return;
  game.steps.push(last);
  status(`Edit ${game.steps.length - 1}: reward ${plain(last.seats[0].reward)}`);
  if (game.steps.length > EDITS) await reveal();
  else showTurn();
}

async function reveal() {
  game.over = true;
  showTab();
  const steps = game.steps, first = steps[0], end = steps[steps.length - 1];
  const fired = Object.keys(first.seats[0].detectors).map((name) => [name, steps.findIndex((s, i) => i > 0 && s.seats[0].detectors[name]?.alarm)]);
  const rose = end.seats[0].reward - first.seats[0].reward, gold = end.gold.gold != null && first.gold.gold != null ? end.gold.gold - first.gold.gold : null;
  const chart = html("div", {class: "chart"}), alarm = fired.map(([, i]) => i).filter((i) => i > 0).sort((a, b) => a - b)[0] ?? null;
  $("game").replaceChildren(html("div", {class: "card", id: "revealed"},
    html("h2", {}, gold == null ? `The reward moved by ${signed(rose)}; the true quality of these texts is unknown.` :
      rose > 0 && gold < 0 ? `You fooled it: reward ${signed(rose)}, true quality ${signed(gold, 1)}.` : `Reward ${signed(rose)}, true quality ${signed(gold, 1)}.`),
    html("div", {class: "two"}, chart, html("div", {class: "wide"}, html("table", {}, html("thead", {}, html("tr", {}, html("th", {}, "Detector"), html("th", {}, "would have fired"))),
      html("tbody", {}, ...fired.map(([name, i]) => html("tr", {}, html("td", {}, name), html("td", {class: i > 0 ? "down" : ""}, i > 0 ? `at edit ${i}` : "never")))))))),
    html("div", {class: "card"}, html("h2", {}, "The class"), html("div", {class: "post"}, html("input", {id: "player", "aria-label": "Your name", placeholder: "Your name", maxlength: 40}),
      html("button", {id: "post", on: {click: () => post(alarm)}}, "Add my result")), html("div", {class: "wide", id: "results"})));
  const points = (value) => steps.map((s, i) => [i, value(s), true]).filter((p) => p[1] != null);
  const parts = [{title: "Reward", height: 110, lines: [{seat: 0, name: head(at.seats[0]), points: points((s) => s.seats[0].reward)}]}];
  if (points((s) => s.gold.gold).length > 1) parts.push({title: "True quality", gold: true, height: 110, lines: [{seat: "g", name: "gold", points: points((s) => s.gold.gold)}]});
  panels(chart, {x: "edit", whole: true, xs: [0, Math.max(1, steps.length - 1)], parts, cursor: alarm, legend: "Reward and true quality after each edit"});
  showTurn();
  showVerdicts(last, null);
  showResults((await engine.result(null)).rows);
  $("game").scrollIntoView({block: "nearest"});
}

async function post(alarm) {
  if (game.posted) return status("This game is in the table already.");
  const first = game.steps[0], end = game.steps[game.steps.length - 1];
  const row = {name: $("player").value.trim() || "anonymous", reward: [first.seats[0].reward, end.seats[0].reward], gold: [first.gold.gold ?? 0, end.gold.gold ?? 0], alarm};
  game.posted = true;
  return showResults((await engine.result(row)).rows);
}

function showResults(rows) {
  if (!rows.length) return $("results").replaceChildren(html("p", {class: "note"}, "No result yet."));
  const order = [...rows].sort((a, b) => b.reward[1] - b.reward[0] - (a.reward[1] - a.reward[0]));
  return $("results").replaceChildren(html("table", {}, html("thead", {}, html("tr", {}, ...["Name", "Reward", "True quality", "First alarm"].map((t, i) => html("th", {class: i ? "n" : ""}, t)))),
    html("tbody", {}, ...order.map((r) => html("tr", {}, html("td", {}, r.name), html("td", {class: "n"}, signed(r.reward[1] - r.reward[0])),
      html("td", {class: "n"}, signed(r.gold[1] - r.gold[0], 1)), html("td", {class: "n"}, r.alarm ? `edit ${r.alarm}` : "never"))))));
}

// ---- the controls ---------------------------------------------------------------------------------------------------
function goTo(tab) {
  if (!world.world && tab !== "write") return;
  at.tab = tab;
  status("");
  showTab();
  writeAddress();
}

function showPrompts() {
  const own = "\u0000";
  $("prompt").replaceChildren(...world.prompts.map((p) => html("option", {value: p.text, selected: p.text === at.prompt}, p.text)),
    html("option", {value: own, selected: !known()}, "A prompt of your own…"));
  $("own-prompt").hidden = Boolean(known());
  $("own-prompt").value = known() ? "" : at.prompt;
  $("prompt").onchange = (e) => {
    const free = e.target.value === own;
    at.prompt = free ? "" : e.target.value;
    $("own-prompt").hidden = !free;
    if (!free) at.response = known()?.start ?? at.response;
    $("response").value = at.response;
    last = null;
    if (game) game = null;
    showChips();
    if (at.tab === "play") showTab();
    refresh();
    if (free) $("own-prompt").focus();
  };
  $("own-prompt").oninput = (e) => { at.prompt = e.target.value; refresh(); };
}

function listen() {
  $("response").value = at.response;
  $("response").addEventListener("input", (e) => { at.response = e.target.value; refresh(); });
  for (const tab of TABS) $("tab-" + tab).addEventListener("click", () => goTo(tab));
  document.querySelector(".tabs").addEventListener("keydown", (e) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[e.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(at.tab) + step + TABS.length) % TABS.length];
    goTo(next);
    $("tab-" + at.tab).focus();
    e.preventDefault();
  });
  let later;
  for (const [id, name, read] of [["flips", "flips", Number], ["pairs", "pairs", Number]]) {
    $(id).addEventListener("input", (e) => {
      at.setting[name] = read(e.target.value);
      showSetting();
      clearTimeout(later);
      later = setTimeout(() => refresh(true), 350);
    });
  }
  $("beta").addEventListener("input", (e) => { at.beta = Number(e.target.value); writeAddress(); if (path) { drawPath(); showPoint(); } });
  $("submit").addEventListener("click", submitEdit);
  $("reveal").addEventListener("click", reveal);
  $("again").addEventListener("click", () => { startGame(); showTab(); });
  const toggle = { d: () => { at.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark"; }, l: () => { at.size = at.size ? null : "large"; } };
  const act = (key) => { toggle[key](); dress(); writeAddress(); if (path && at.tab === "optimise") { drawPath(); showPoint(); } };
  $("theme").addEventListener("click", () => act("d"));
  $("size").addEventListener("click", () => act("l"));
  document.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { submitEdit(); return; }
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) return;
    if (toggle[e.key.toLowerCase()]) act(e.key.toLowerCase());
    else if (["1", "2", "3"].includes(e.key)) goTo(TABS[e.key - 1]);
  });
  let wide = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== wide) { wide = innerWidth; if (path && at.tab === "optimise") { drawPath(); showPoint(); } } });
}

(async () => {
  try {
    world = await engine.state();
  } catch (error) {
    status(error.message, true);
    return;
  }
  readAddress();
  dress();
  $("about").textContent = world.world ? "A simulated world where the true quality of an answer is known" : "Your model, beside its reference texts";
  $("made").textContent = `Embedder: ${world.embedder}.`;
  $("annotators").hidden = !world.world;
  if (world.world) $("pairs").max = world.most_pairs;
  for (const node of document.querySelectorAll(".live")) node.hidden = !engine.live;
  if (!world.world) for (const tab of ["optimise", "play"]) $("tab-" + tab).hidden = true;
  showSeats(); showSetting(); showPrompts(); showChips(); listen();
  const response = at.response;
  showTab();
  if (at.tab !== "play" || !game) at.response = response;
  $("response").value = at.response;
  refresh(true);
  document.documentElement.dataset.ready = "yes";
})();
