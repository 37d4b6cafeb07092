// On paper, everything that can be opened is open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details:not([open])");
  closed.forEach((node) => (node.open = true));
});
addEventListener("afterprint", () => closed.forEach((node) => (node.open = false)));

// What is folded away has no width to be drawn in: its charts are made when it is opened.
async function unfold(node) {
  const names = [...node.querySelectorAll(".chart")].map((chart) => chart.id).filter((id) => data.charts[id] && !views[id]);
  await Promise.all(names.map(embed));
  if (names.some((id) => id === "run-gold")) chooseRun();
  if (names.length) show();
  remember();
}

async function arrive() {
  recall();
  show();
  await Promise.all(all("details.fold[open]").map(unfold));
  if (data.runs.length && views["run-gold"]) {
    $("step").value = recalled;
    showStep();
  }
}

const ROOM = innerWidth < 700 ? 205 : Math.max(230, Math.min(400, innerHeight - 470));
async function start() {
  data.charts.hero.height = ROOM;
  if (data.settings.length) {
    await Promise.all(["hero", "strip"].map(embed));
    FIELDS.forEach((field) => $(field).addEventListener("change", () => go(field, $(field).values[$(field).value])));
    $("lines").addEventListener("change", show);
    $("head").addEventListener("change", () => show((head = $("head").values[$("head").value])));
    $("strip-of").addEventListener("change", () => show((watch = $("strip-of").values[$("strip-of").value])));
  }
  if (data.runs.length) {
    $("run").addEventListener("change", () => (chooseRun(), remember()));
    $("detector").addEventListener("change", showDetector);
    $("step").addEventListener("input", showStep);
    $("step").addEventListener("change", remember);
    $("play").addEventListener("click", play);
  }
  await arrive();
  writing = true;
  remember();
  all("details.fold").forEach((node) => node.addEventListener("toggle", () => node.open ? unfold(node) : remember()));
  addEventListener("hashchange", arrive);
  document.documentElement.dataset.ready = "yes";
}
start();
