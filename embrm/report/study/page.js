// On paper, everything that can be opened is open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details:not([open])");
  closed.forEach((node) => (node.open = true));
});
addEventListener("afterprint", () => closed.forEach((node) => (node.open = false)));

async function start() {
  await Promise.all(Object.keys(data.charts).filter($).map(embed));
  if (data.settings.length) {
    fillLines();
    FIELDS.forEach((field) => $(field).addEventListener("change", () => choose(field)));
    $("lines").addEventListener("change", show);
    show();
  }
  if (data.runs.length) {
    $("run").addEventListener("change", chooseRun);
    $("detector").addEventListener("change", showDetector);
    $("step").addEventListener("input", showStep);
    $("play").addEventListener("click", play);
    chooseRun();
  }
  document.documentElement.dataset.ready = "yes";
}
start();
