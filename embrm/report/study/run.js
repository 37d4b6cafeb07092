// A training run, step by step.
const CURVES = ["proxy", "gold", "kl"];
let run = null;
function chooseRun() {
  run = data.runs[Number($("run").value)];
  $("step").max = run.number.length - 1;
  $("step").value = Math.min($("step").value, run.number.length - 1);
  options($("detector"), Object.keys(run.watch), (v) => v, Object.keys(run.watch)[0]);
  $("watching").hidden = !Object.keys(run.watch).length;
  $("latents").hidden = !run.latent.length;
  for (const name of CURVES) curve("run-" + name, run[name]);
  showDetector();
  const flat = run.latent.flat();
  const end = (pick, k) => flat.reduce((a, p) => pick(a, p[k]), run.cloud.length ? run.cloud[0][k] : 0);
  const corners = flat.length ? [Math.min, Math.max].map((pick) => ({ x: end(pick, 0), y: end(pick, 1) })) : [];
  fill("space", { shown: run.cloud.map(([x, y]) => ({ x, y })), corners });
  const middle = (points, k) => points.reduce((sum, p) => sum + p[k], 0) / points.length;
  run.way = run.latent.map((points, i) => ({ step: i, x: middle(points, 0), y: middle(points, 1) }));
  const texts = run.steps.flatMap((step) => step.sample);
  run.range = Object.fromEntries(["proxy", "gold"].map((k) => {
    const values = texts.map((t) => t[k]).filter((v) => v !== null);
    return [k, [values.reduce((a, b) => Math.min(a, b), 0), values.reduce((a, b) => Math.max(a, b), 0)]];
  }));
  showStep();
}

const curve = (name, ys) => fill(name, { shown: (ys ?? []).map((y, i) => ({ step: run.number[i], y })) });
const mark = (name, ys, i) => fill(name, { now: ys ? [{ step: run.number[i], y: ys[i] }] : [] });
const watched = () => run.watch[$("detector").values[$("detector").value]];
function showDetector() {
  curve("run-watch", watched());
  mark("run-watch", watched(), Number($("step").value));
}

function showStep() {
  const i = Number($("step").value);
  for (const name of CURVES) mark("run-" + name, run[name], i);
  mark("run-watch", watched(), i);
  const said = [`step ${run.number[i]}`, `proxy ${fixed(run.proxy[i])}`, `gold ${fixed(run.gold[i])}`, `KL ${fixed(run.kl[i])}`];
  $("now").textContent = said.join("  ·  ");
  $("step").setAttribute("aria-valuetext", said.join(", "));
  if (run.latent.length) fill("space", { now: run.latent[i].map(([x, y]) => ({ x, y })), way: run.way.slice(0, i + 1) });
  const step = run.steps[i];
  $("texts").replaceChildren(...(step ? step.sample.map(card) : [make("p", "Its texts were not kept.", "soft")]));
  $("means").replaceChildren(...(step ? means(step.means) : []));
}

function card(text) {
  const node = make("article", undefined, "text");
  const counts = make("ul");
  text.counts.forEach((n, k) => n && counts.append(make("li", `${run.attributes[k] ?? "attribute " + k} × ${n}`)));
  const values = make("dl");
  for (const [name, colour] of [["proxy", "#3a84c9"], ["gold", "#d9601a"]]) {
    const [low, high] = run.range[name];
    const meter = make("dd", undefined, "meter");
    const bar = make("i");
    bar.style.width = `${(100 * ((text[name] ?? low) - low)) / (high - low || 1)}%`;
    bar.style.background = colour;
    meter.append(bar);
    values.append(make("dt", name), meter, make("dd", fixed(text[name])));
  }
  node.append(make("p", text.prompt, "prompt"), make("p", text.text, "said"), counts, values);
  return node;
}

function means(now) {
  const top = Math.max(...run.steps.flatMap((step) => Object.values(step.means)), 1e-9);
  const place = (value) => `${(100 * value) / top}%`;
  const out = [make("div", "Mean uses in a text of the policy; the tick is where it started", "head")];
  for (const [name, value] of Object.entries(now)) {
    const track = make("div", undefined, "track");
    const bar = make("div", undefined, "fill");
    bar.style.width = place(value);
    const tick = make("div", undefined, "start");
    tick.style.left = place(run.steps[0].means[name]);
    track.append(bar, tick);
    out.push(make("span", name), track, make("span", fixed(value)));
  }
  return out;
}

let playing = null;
function play() {
  const slider = $("step");
  if (playing) {
    clearInterval(playing);
    playing = null;
  } else {
    if (slider.value === slider.max) slider.value = 0;
    playing = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      showStep();
      if (slider.value === slider.max) play();
    }, 250);
  }
  $("play").textContent = playing ? "pause" : "play";
  $("play").setAttribute("aria-pressed", Boolean(playing));
}
