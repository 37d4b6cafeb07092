// What is selected stands in the address, so that a link shows the same.
let writing = false; // not before the page has read what it was opened with
function remember() {
  if (!writing) return;
  const now = data.settings[at] ?? [];
  const state = new URLSearchParams(now.map((value, i) => [FIELDS[i], value]));
  const told = story();
  if (told) {
    state.set("head", told.head);
    if (told.strips.length) state.set("detector", stripOf(told).name);
  }
  for (const name of added) state.append("add", name);
  const { by, name } = mode();
  if (name) state.set("by", `${by === "head" ? "rule" : "head"}:${name}`);
  if (told) for (const line of seenOf("lines")) state.append("line", line);
  if (data.runs.length) for (const id of ["run", "step"]) state.set(id, $(id).value);
  if (data.together.length) for (const line of seenOf("runs")) state.append("runs", line);
  for (const node of all("details.fold[open]")) state.append("open", node.id);
  history.replaceState(null, "", `#${state}`);
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  const told = FIELDS.map((field) => state.get(field));
  const found = data.settings.findIndex((s) => s.every((value, i) => String(value) === told[i]));
  if (found >= 0) at = found;
  head = state.get("head") ?? head;
  watch = state.get("detector") ?? watch;
  added.clear();
  state.getAll("add").slice(0, MOST).forEach((name) => added.add(name));
  if (data.settings.length) {
    fillLines(state.get("by"));
    const lines = state.getAll("line");
    const known = lines.filter((line) => Object.hasOwn(data.styles[mode().by], line));
    if (known.length) seen[seenBy("lines")] = new Set(known.slice(0, SHOWN));
  }
  const together = state.getAll("runs").filter((line) => Object.hasOwn(data.styles.runs, line));
  if (together.length) seen.runs = new Set(together.slice(0, SHOWN));
  for (const id of data.runs.length ? ["run", "step"] : []) {
    const value = Number(state.get(id) ?? 0);
    if (id === "run" && data.runs[value]) $(id).value = value;
    if (id === "step") recalled = value;
  }
  for (const node of all("details.fold")) node.open = state.getAll("open").includes(node.id);
}
let recalled = 0; // the step of the training run
