"use strict";
// Where numbers come from: the server that sent this page. A page without a server has another engine under this name.
const engine = (() => {
  const ask = async (path, body) => {
    const answer = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error || answer.statusText);
    return told;
  };
  return {
    live: true,
    state: () => ask("state", {}),
    score: (setting, seats, texts) => ask("score", {setting, seats, texts}),
    path: (setting, seats) => ask("path", {setting, seats}),
    point: (setting, seat, inverse_beta, prompt) => ask("point", {setting, seats: [seat], inverse_beta, prompt}),
    result: (row) => ask("result", row ? {row} : {}),
  };
})();
